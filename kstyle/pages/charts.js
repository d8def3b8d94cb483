// Curves: each `.chart` holds an element `script[type="application/json"]` with what kstyle/pages/charts.py made; it is
// drawn by uPlot, with its values where the pointer is, linear or logarithmic. `chart.setRows(…)` draws newer rows.
"use strict";
(() => {
  const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const told = value => value == null ? "–"
    : value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e6) ? value.toExponential(2)
    : String(Number(value.toPrecision(4)));
  const drawn = [];
  const WHOLE = [...Array(9).keys()].flatMap(n => [1, 2, 5].map(one => one * 10 ** n));  // between ticks of counted things

  // Where one size of a painting, or one stage of a training, ends and the next begins.
  function marks(chart) {
    return { hooks: { draw: plot => {
      const context = plot.ctx, { left, top, width, height } = plot.bbox;
      context.save();
      context.strokeStyle = context.fillStyle = css("--soft");
      context.lineWidth = devicePixelRatio;
      context.setLineDash([3 * devicePixelRatio, 4 * devicePixelRatio]);
      context.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
      context.textAlign = "left";
      let free = left;
      for (const mark of chart.marks) {
        const at = plot.valToPos(mark.at, "x", true);
        if (at < left || at > left + width) continue;
        context.beginPath();
        context.moveTo(at, top);
        context.lineTo(at, top + height);
        context.stroke();
        if (at < free) continue;  // no room beside the one before
        context.fillText(mark.label, at + 4 * devicePixelRatio, top + 12 * devicePixelRatio);
        free = at + context.measureText(mark.label).width + 12 * devicePixelRatio;
      }
      context.restore();
    } } };
  }

  function make(place) {
    const chart = JSON.parse(place.querySelector("script").textContent);
    const canvas = place.querySelector(".plot"), button = place.querySelector("button");
    let plot = null, log = chart.log, hidden = new Set();
    const data = () => [chart.x, ...chart.lines.map(line => log ? line.values.map(v => v > 0 ? v : null) : line.values)];
    const draw = () => {
      if (plot) { chart.lines.forEach((_, n) => plot.series[n + 1].show ? hidden.delete(n) : hidden.add(n)); plot.destroy(); }
      const axis = { stroke: css("--soft"), grid: { stroke: css("--grid"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
      const lone = chart.x.length < 2;
      plot = new uPlot({
        width: Math.max(canvas.clientWidth, 240), height: 280,
        scales: { x: { time: false }, y: log ? { distr: 3 } : { range: (_, low, high) => low === high ? [low - .5, high + .5] : uPlot.rangeNum(low, high, .08, true) } },
        series: [
          { label: chart.axis, value: (_, v) => v == null ? "–" : String(v) },
          ...chart.lines.map((line, n) => ({
            label: line.name, stroke: css(`--c${n % 8}`), width: n ? 1.5 : 2.2, spanGaps: false, show: !hidden.has(n),
            points: { show: lone }, value: (_, v) => told(v),
          })),
        ],
        axes: [{ ...axis, size: 30, ...(chart.x.every(Number.isInteger) ? { incrs: WHOLE } : {}) }, { ...axis, size: 62, values: (_, ticks) => ticks.map(v => v == null ? "" : told(v)) }],
        cursor: { y: false, focus: { prox: 24 }, points: { size: 7 } }, focus: { alpha: .35 },
        legend: { live: true }, plugins: [marks(chart)],
      }, data(), canvas);
      place.plot = plot;
    };
    const say = () => { button.setAttribute("aria-pressed", log); };
    button.addEventListener("click", () => { log = !log; say(); draw(); });
    say();
    draw();
    new ResizeObserver(() => {
      const width = Math.max(canvas.clientWidth, 240);
      if (plot.width !== width) plot.setSize({ width, height: 280 });
    }).observe(canvas);
    place.setRows = (x, lines, newer) => {
      const before = chart.lines.length;
      Object.assign(chart, { x, lines, marks: newer || chart.marks });
      if (lines.length !== before) draw(); else plot.setData(data());
    };
    drawn.push(draw);
  }
  document.querySelectorAll(".chart").forEach(make);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn.forEach(draw => draw()));
})();
