// The loss over the steps, on a logarithmic scale, with what it is under the pointer: uPlot, which comes with kstyle.

import { figure } from "./dom.js";

const HEIGHT = 132;
const colour = (place, name) => getComputedStyle(place).getPropertyValue(name).trim();

const said = (self, value) => (value === null || value === undefined ? "–" : figure(value));

/** `draw(history)` puts [[step, loss], …] on the place. */
export function begin(place) {
  let plot = null,
    seen = [[], []];
  const axis = {
    stroke: () => colour(place, "--soft"),
    grid: { stroke: () => colour(place, "--line"), width: 1 },
    ticks: { show: false },
    font: "11px system-ui, sans-serif",
  };
  const build = () =>
    new uPlot(
      {
        width: Math.max(place.clientWidth, 120),
        height: HEIGHT,
        padding: [8, 8, 0, 0],
        cursor: { y: false, drag: { x: false } },
        scales: { x: { time: false }, y: { distr: 3 } },
        axes: [
          { ...axis, size: 24, gap: 2, space: 60 },
          {
            ...axis,
            size: 44,
            gap: 4,
            values: (self, splits) => splits.map(value => (value === null ? "" : figure(value))),
          },
        ],
        series: [
          { label: "Step", value: said },
          { label: "Loss", stroke: () => colour(place, "--mark"), width: 2, points: { show: false }, value: said },
        ],
      },
      seen,
      place,
    );
  new ResizeObserver(() => {
    if (plot && place.clientWidth) plot.setSize({ width: place.clientWidth, height: HEIGHT });
  }).observe(place);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plot?.redraw());
  return history => {
    const good = history.filter(([, loss]) => loss > 0); // a logarithm has no place for others
    seen = [good.map(([step]) => step), good.map(([, loss]) => loss)];
    if (good.length < 2) return;
    if (plot) plot.setData(seen);
    else plot = build();
  };
}
