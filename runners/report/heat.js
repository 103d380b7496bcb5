"use strict";
// The heat maps of a sweep: shows the settings that the sliders choose.

class HeatMaps {
  constructor(box, document_, spec) {
    const find = name => document_.get_model_by_name(name);
    Object.assign(this, {box, spec, settings: find("settings").data, cells: find("cells"), marks: find("marks")});
    this.sliders = [...box.querySelectorAll("input[type=range]")];
    for (const slider of this.sliders) slider.addEventListener("input", () => this.draw());
    this.draw();
  }

  draw() {
    const {settings, spec: {axes, values, columns, marks}} = this, [across, upwards] = axes;
    for (const slider of this.sliders) slider.nextElementSibling.textContent = values[slider.name][slider.value];
    const chosen = number => this.sliders.every(({name, value}) => settings[name][number] === Number(value));
    const shown = [...settings[across].keys()].filter(chosen), pick = name => shown.map(number => settings[name][number]);
    const data = {x: pick(across), y: pick(upwards)};
    for (const name of axes) data[name] = pick(name).map(code => values[name][code]);
    for (const name of columns) data[name] = pick(name);
    this.cells.data = data;
    const marked = marks.filter(([number]) => chosen(number));
    this.marks.data = {
      x: marked.map(([number]) => settings[across][number]), y: marked.map(([number]) => settings[upwards][number]),
      marker: marked.map(([, marker]) => marker), label: marked.map(([, , label]) => label),
    };
  }
}
