"use strict";
// Charts: draws the bars in sight in a bounded number of buckets, and answers pointer, keys and buttons.

const DAY = 86_400_000;

// A bucket's value of the bars from `from` up to, without, `to`; unknown values (NaN) are left out.
const AGGREGATES = {
  first: (values, from) => values[from],
  last: (values, from, to) => values[to - 1],
  min: (values, from, to) => {
    let least = NaN;
    for (let at = from; at < to; at++) if (!(values[at] >= least) && values[at] === values[at]) least = values[at];
    return least;
  },
  max: (values, from, to) => {
    let most = NaN;
    for (let at = from; at < to; at++) if (!(values[at] <= most) && values[at] === values[at]) most = values[at];
    return most;
  },
  mean: (values, from, to) => {
    let sum = 0, known = 0;
    for (let at = from; at < to; at++) if (values[at] === values[at]) { sum += values[at]; known++; }
    return known ? sum / known : NaN;
  },
};

const number = (value, digits) => value.toLocaleString("en", {minimumFractionDigits: digits, maximumFractionDigits: digits});
const FORMATS = {
  price: value => value.toLocaleString("en", {maximumSignificantDigits: 7}),
  money: value => number(value, 2),
  growth: value => number(value, 3),
  number: value => number(value, 2),
  points: value => `${number(1e4 * value, 1)} bp`,
  percent: value => `${number(100 * value, 1)} %`,
};

const timeText = time => new Date(time).toISOString().slice(0, 16).replace("T", " ");

// The first position whose value is at least `value`.
function lowerBound(values, value) {
  let low = 0, high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] < value) low = middle + 1; else high = middle;
  }
  return low;
}

class Chart {
  constructor(box, document_, spec) {
    const find = name => document_.get_model_by_name(name);
    Object.assign(this, {box, spec, range: find("time"), drawn: find("drawn"), regimes: find("regimes")});
    this.bars = find("bars").data;
    this.trades = find("trades")?.data;
    this.drawnTrades = find("drawn trades");
    this.full = [this.range.start, this.range.end];
    this.panes = spec.panes.map(pane => ({...pane, plots: pane.figures.map(find)}));
    this.renderers = new Map(this.plots.flatMap(plot => plot.renderers.map(one => [one.name, one])));
    this.marked = -1;
    for (const plot of this.plots) {
      plot.js_event_callbacks = {mousemove: [event => this.read(event.x)], tap: [event => this.tap(plot, event)]};
    }
    for (const name of ["start", "end"]) this.range.properties[name].change.connect(() => this.later());
    this.listen();
    this.paintInk();
    this.draw();
    this.read(this.range.end);
  }

  get plots() { return this.panes.flatMap(pane => pane.plots); }

  // Once for several changes, and before the browser paints them.
  later() {
    if (this.pending) return;
    this.pending = true;
    queueMicrotask(() => { this.pending = false; this.draw(); });
  }

  // Buckets of a power of two bars, so that they stay the same while the reader pans.
  draw() {
    const {time} = this.bars, {start, end} = this.range;
    const from = Math.max(0, lowerBound(time, start - this.spec.interval) - 1);
    const to = Math.min(time.length, lowerBound(time, end) + 1);
    const size = 2 ** Math.max(0, Math.ceil(Math.log2((to - from) / (this.spec.buckets - 2))));
    const first = from - from % size, view = [first, to, size].join();
    this.drawTrades();
    if (view === this.view) return;
    this.view = view;
    const edges = [];
    for (let at = first; at < to; at += size) edges.push(at);
    const ends = edges.map(at => Math.min(time.length, at + size));
    const data = {};
    for (const [name, {columns, how}] of Object.entries(this.spec.drawn)) {
      const aggregate = AGGREGATES[how], values = data[name] = new Float64Array(edges.length);
      for (const column of columns) {
        const all = this.bars[column];
        for (let bucket = 0; bucket < edges.length; bucket++) values[bucket] += aggregate(all, edges[bucket], ends[bucket]);
      }
    }
    const right = ends.map(at => time[at - 1] + this.spec.interval);
    data.x = Float64Array.from(edges, (at, bucket) => (time[at] + right[bucket]) / 2);
    data.width = Float64Array.from(edges, (at, bucket) => 0.75 * (right[bucket] - time[at]));
    const [up, down] = this.spec.candle_colours;
    data.colour = edges.map((_, bucket) => data.close?.[bucket] < data.open?.[bucket] ? down : up);
    this.shade(edges.map(at => time[at]), right, data.regime);
    this.drawn.data = data;
    this.fit();
  }

  // One strip for each run of buckets in the same regime.
  shade(left, right, regime) {
    if (!this.regimes) return;
    const strips = {left: [], right: [], colour: []};
    for (let at = 0; at < left.length; at++) {
      if (regime[at] !== regime[at]) continue;
      const colour = this.spec.colours[regime[at]], last = strips.colour.length - 1;
      if (last >= 0 && strips.colour[last] === colour && regime[at - 1] === regime[at]) strips.right[last] = left[at + 1] ?? right[at];
      else {
        strips.left.push(left[at]);
        strips.right.push(left[at + 1] ?? right[at]);
        strips.colour.push(colour);
      }
    }
    this.regimes.data = strips;
  }

  // The trades in sight; of many, those with the largest profit or loss.
  drawTrades() {
    if (!this.trades) return;
    const {opened, closed, entry_price, exit_price, net_pnl, long} = this.trades, {start, end} = this.range;
    let inSight = [];
    for (let at = 0; at < opened.length; at++) if (closed[at] >= start && opened[at] <= end) inSight.push(at);
    if (inSight.length > this.spec.most_trades) {
      inSight.sort((one, other) => Math.abs(net_pnl[other]) - Math.abs(net_pnl[one]));
      inSight = inSight.slice(0, this.spec.most_trades);
    }
    const view = `${inSight.length} ${inSight[0]} ${inSight.at(-1)} ${this.marked}`;
    if (view === this.tradesView) return;
    this.tradesView = view;
    this.tradesInSight = inSight;
    const middle = this.spec.interval / 2;
    const [won, lost, marked] = this.spec.trade_colours;
    this.drawnTrades.data = {
      x0: inSight.map(at => opened[at] + middle), x1: inSight.map(at => closed[at] + middle),
      y0: inSight.map(at => entry_price[at]), y1: inSight.map(at => exit_price[at]),
      colour: inSight.map(at => at === this.marked ? marked : net_pnl[at] >= 0 ? won : lost),
      marker: inSight.map(at => long[at] ? "triangle" : "inverted_triangle"),
    };
  }

  // Fits each pane to what it shows.
  fit() {
    for (const {plots, series, levels} of this.panes) {
      for (const [at, plot] of plots.entries()) {
        let low = Math.min(...levels), high = Math.max(...levels);
        for (const name of series.filter(one => one.shown).flatMap(one => one.columns)) {
          for (const value of this.drawn.data[name]) {
            if (at === 1 && value <= 0) continue;
            if (value < low) low = value;
            if (value > high) high = value;
          }
        }
        if (!Number.isFinite(low)) continue;
        const margin = at === 1 ? (high / low) ** 0.05 || 1.01 : 0.05 * (high - low) || 0.01 * Math.abs(high) || 1;
        plot.y_range.setv(at === 1 ? {start: low / margin, end: high * margin} : {start: low - margin, end: high + margin});
      }
    }
  }

  // The number of candles, lines, strips and markers in sight.
  glyphs() {
    let count = 0;
    for (const plot of this.plots.filter(one => one.visible)) {
      for (const {glyph, data_source, visible} of plot.renderers) {
        if (visible) count += ["Line", "VArea"].includes(glyph.type) ? 1 : data_source.get_length() ?? 0;
      }
    }
    return count;
  }

  // Shows every value of the bar at a time.
  read(at) {
    const {time} = this.bars, bar = Math.max(0, lowerBound(time, at + 1) - 1), values = [];
    for (const {label, column, kind} of this.spec.readings) {
      const value = this.bars[column][bar];
      const known = Number.isFinite(value);
      const text = !known ? "–" : kind === "name" ? this.spec.names[value] ?? String(value) : FORMATS[kind](value);
      values.push([label, text]);
    }
    const readout = this.box.querySelector(".readout");
    readout.replaceChildren(...[["time", `${timeText(time[bar])} UTC`], ...values].map(([label, text]) => {
      const item = document.createElement("div"), name = document.createElement("dt"), shown = document.createElement("dd");
      name.textContent = label;
      shown.textContent = text;
      item.append(name, shown);
      return item;
    }));
  }

  // Marks the trade within 12 pixels of the pointer.
  tap(plot, {x, y}) {
    if (!this.trades || !plot.renderers.some(one => one.data_source === this.drawnTrades)) return;
    const {x_range, y_range, inner_width, inner_height} = plot, {x0, x1, y0, y1} = this.drawnTrades.data;
    const across = inner_width / (x_range.end - x_range.start), upwards = inner_height / (y_range.end - y_range.start);
    let nearest = -1, least = 12;
    for (let at = 0; at < x0.length; at++) {
      const [ax, ay, bx, by] = [(x0[at] - x) * across, (y0[at] - y) * upwards, (x1[at] - x) * across, (y1[at] - y) * upwards];
      const length = (bx - ax) ** 2 + (by - ay) ** 2;
      const share = length ? Math.min(1, Math.max(0, -(ax * (bx - ax) + ay * (by - ay)) / length)) : 0;
      const distance = Math.hypot(ax + share * (bx - ax), ay + share * (by - ay));
      if (distance < least) [nearest, least] = [at, distance];
    }
    if (nearest >= 0) this.mark(this.tradesInSight[nearest]);
  }

  mark(trade) {
    this.marked = trade;
    this.drawTrades();
    const found = this.box.querySelector(".found");
    found.hidden = false;
    found.textContent = `trade ${trade + 1} of ${this.trades.opened.length} is marked in the table`;
    document.dispatchEvent(new CustomEvent("trade", {detail: trade}));
  }

  // Zooms to a trade and marks it.
  showTrade(trade) {
    const {opened, closed} = this.trades, length = Math.max(closed[trade] - opened[trade], 20 * this.spec.interval);
    this.show(opened[trade] - length, closed[trade] + length);
    this.mark(trade);
    this.box.scrollIntoView();
  }

  show(start, end) {
    const [first, last] = this.full, width = Math.min(end - start, last - first);
    const from = Math.min(Math.max(start, first), last - width);
    this.range.setv({start: from, end: from + width});
  }

  zoom(factor) {
    const {start, end} = this.range, middle = (start + end) / 2, half = Math.max((end - start) * factor / 2, 4 * this.spec.interval);
    this.show(middle - half, middle + half);
  }

  pan(share) {
    const {start, end} = this.range;
    this.show(start + share * (end - start), end + share * (end - start));
  }

  // The lines that are drawn in the text colour of the page.
  paintInk() {
    const ink = getComputedStyle(this.box).color;
    for (const [name, {glyph}] of this.renderers) if (name?.endsWith(" ink")) glyph.line_color = {value: ink};
    for (const plot of this.plots) plot.outline_line_color = ink;  // paints axes and grid again, whose colours are CSS
  }

  listen() {
    for (const button of this.box.querySelectorAll("[data-days]")) {
      button.addEventListener("click", () => {
        const days = Number(button.dataset.days), {end} = this.range;
        if (days) this.show(Math.min(end, this.full[1]) - days * DAY, Math.min(end, this.full[1]));
        else this.show(...this.full);
      });
    }
    this.box.querySelector(".scale")?.addEventListener("change", event => {
      for (const {plots} of this.panes) if (plots.length > 1) plots.forEach((plot, at) => { plot.visible = (at === 1) === event.target.checked; });
    });
    for (const button of this.box.querySelectorAll("[data-series]")) {
      button.addEventListener("click", () => this.toggle(button, ...button.dataset.series.split(".").map(Number)));
    }
    const keys = {
      ArrowLeft: () => this.pan(-0.1), ArrowRight: () => this.pan(0.1), "+": () => this.zoom(0.5), "=": () => this.zoom(0.5),
      "-": () => this.zoom(2), 0: () => this.show(...this.full), Home: () => this.show(...this.full),
    };
    this.box.addEventListener("keydown", event => {
      if (!(event.key in keys) || event.ctrlKey || event.metaKey || event.target.matches("input, button")) return;
      event.preventDefault();
      keys[event.key]();
    });
    // A page that is being scrolled goes on scrolling over a chart, and so does one whose chart shows all bars already.
    let scrolled = -Infinity;
    addEventListener("wheel", event => {
      const now = performance.now(), inside = event.composedPath().includes(this.box);
      if (!inside || now - scrolled < 300) scrolled = now;
      const whole = this.range.start <= this.full[0] && this.range.end >= this.full[1];
      if (inside && (scrolled === now || (whole && event.deltaY > 0))) event.stopPropagation();
    }, {capture: true, passive: true});
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paintInk());
    if (matchMedia("(pointer: coarse)").matches) for (const {toolbar} of this.plots) toolbar.active_drag = toolbar.active_scroll = null;
  }

  toggle(button, pane, at) {
    const series = this.panes[pane].series[at];
    series.shown = !series.shown;
    button.ariaPressed = series.shown;
    for (const name of series.renderers) this.renderers.get(name).visible = series.shown;
    this.fit();
  }
}

Bokeh.logger.set_level("error");

async function embed(box) {
  const {document: content, spec} = JSON.parse(box.querySelector("script").textContent), roots = {};
  for (const place of box.querySelectorAll("[data-root]")) roots[place.dataset.root] = place;
  const [views] = await Bokeh.embed.embed_items({chart: content}, [{docid: "chart", roots, root_ids: Object.keys(roots)}]);
  const drawn = views.roots[0].model.document;
  if (box.matches(".chart")) box.chart = new Chart(box, drawn, spec);
  if (box.matches(".heat")) new HeatMaps(box, drawn, spec);
  box.dataset.ready = "";
}

// One after the other, so that the first, at the top of the page, is seen early.
(async () => {
  for (const box of document.querySelectorAll(".chart, .heat, .figure")) {
    await embed(box);
    await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))));
  }
})();
