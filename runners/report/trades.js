"use strict";
// The table of trades: sorted by a click on a header, filtered by a text, in pages, and linked with the chart.

const PER_PAGE = 25;
const digits = (value, least, most) => value.toLocaleString("en", {minimumFractionDigits: least, maximumFractionDigits: most});
const CELLS = {
  time: value => value, text: value => value,
  count: value => digits(value, 0, 0), money: value => digits(value, 2, 2),
  price: value => value.toLocaleString("en", {maximumSignificantDigits: 7}),
  units: value => value.toLocaleString("en", {maximumSignificantDigits: 6}),
  percent: value => `${digits(100 * value, 2, 2)} %`, points: value => digits(1e4 * value, 1, 1),
};

class Trades {
  constructor(box) {
    const {columns, rows, open} = JSON.parse(box.querySelector("script").textContent);
    Object.assign(this, {box, columns, rows, open, order: rows.map((_, at) => at), first: 0, marked: -1});
    this.sorted = {column: -1, down: false};
    this.head();
    this.box.querySelector("input").addEventListener("input", () => this.arrange());
    const [previous, next] = this.box.querySelectorAll(".pages button");
    previous.addEventListener("click", () => this.turn(-PER_PAGE));
    next.addEventListener("click", () => this.turn(PER_PAGE));
    document.addEventListener("trade", event => this.mark(event.detail));
    this.fill();
  }

  get chart() { return document.querySelector(".chart")?.chart; }

  text(row, column) {
    const value = this.rows[row][column], {kind, label} = this.columns[column];
    if (this.open.includes(row) && label === "closed") return "open";
    if (value === null || (this.open.includes(row) && label === "exit")) return "–";
    return CELLS[kind](value);
  }

  head() {
    this.box.querySelector("thead tr").append(...this.columns.map(({label}, column) => {
      const cell = document.createElement("th"), button = document.createElement("button");
      cell.scope = "col";
      button.type = "button";
      button.textContent = label;
      button.addEventListener("click", () => this.sort(column));
      cell.append(button);
      return cell;
    }));
  }

  sort(column) {
    this.sorted = {column, down: this.sorted.column === column && !this.sorted.down};
    this.box.querySelectorAll("th").forEach((cell, at) => {
      cell.ariaSort = at === column ? (this.sorted.down ? "descending" : "ascending") : null;
    });
    this.arrange();
  }

  arrange() {
    const wanted = this.box.querySelector("input").value.trim().toLowerCase(), {column, down} = this.sorted;
    const matches = row => this.columns.some((_, at) => String(this.text(row, at)).toLowerCase().includes(wanted));
    const value = row => this.rows[row][column];
    const compare = (one, other) => typeof value(one) === "number" && typeof value(other) === "number"
      ? value(one) - value(other) : String(value(one)).localeCompare(String(value(other)));
    this.order = this.rows.map((_, at) => at).filter(matches);
    if (column >= 0) this.order.sort((one, other) => (down ? -1 : 1) * compare(one, other));
    this.first = 0;
    this.fill();
  }

  turn(rows) {
    this.first += rows;
    this.fill();
  }

  fill() {
    const shown = this.order.slice(this.first, this.first + PER_PAGE);
    this.box.querySelector("tbody").replaceChildren(...shown.map(row => {
      const line = document.createElement("tr");
      line.tabIndex = 0;
      line.dataset.trade = row;
      line.classList.toggle("marked", row === this.marked);
      line.append(...this.columns.map((_, column) => {
        const cell = document.createElement("td");
        cell.textContent = this.text(row, column);
        return cell;
      }));
      line.addEventListener("click", () => this.chart?.showTrade(row));
      line.addEventListener("keydown", event => { if (event.key === "Enter") this.chart?.showTrade(row); });
      return line;
    }));
    const count = this.order.length, [previous, next] = this.box.querySelectorAll(".pages button");
    previous.disabled = this.first === 0;
    next.disabled = this.first + PER_PAGE >= count;
    this.box.querySelector(".pages span").textContent = count
      ? `${this.first + 1} to ${Math.min(count, this.first + PER_PAGE)} of ${count}` : "no trade contains this";
  }

  // Turns to the page of a trade and marks its row.
  mark(trade) {
    this.marked = trade;
    if (!this.order.includes(trade)) {
      this.box.querySelector("input").value = "";
      this.arrange();
    }
    this.first = PER_PAGE * Math.floor(this.order.indexOf(trade) / PER_PAGE);
    this.fill();
  }
}

for (const box of document.querySelectorAll(".trades")) new Trades(box);
for (const button of document.querySelectorAll("button.copy")) {
  button.addEventListener("click", async () => {
    const code = button.parentElement.querySelector("code");
    getSelection().selectAllChildren(code);  // stays selected where the clipboard is not allowed
    await navigator.clipboard?.writeText(code.textContent);
    button.textContent = "copied";
  });
}
