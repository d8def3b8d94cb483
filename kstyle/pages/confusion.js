// A matrix of confusions: rows the true class, columns the told one, each cell as dark as its share of the true class.
// The cell under the pointer, or where the arrow keys went, is said below.
for (const place of document.querySelectorAll(".confusion")) {
  const { classes, cells, support } = JSON.parse(place.querySelector("script").textContent);
  const canvas = place.querySelector("canvas"), said = place.querySelector("output"), count = classes.length;
  const known = new Map(cells.map(([t, p, n]) => [t * count + p, n]));
  const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const hidden = said.textContent;
  let at = null, longest = 0;

  const margin = () => count > 40 ? 0 : Math.min(110, longest + 10);
  function draw() {
    const width = Math.min(place.clientWidth, 720), ratio = devicePixelRatio, context = canvas.getContext("2d");
    const font = count > 20 ? 10 : 12;
    context.font = `${font}px system-ui, sans-serif`;
    longest = Math.max(...classes.map(name => context.measureText(name).width));
    const edge = margin(), side = (width - edge) / count;
    Object.assign(canvas, { width: width * ratio, height: width * ratio });
    canvas.style.width = canvas.style.height = `${width}px`;
    context.scale(ratio, ratio);
    context.font = `${font}px system-ui, sans-serif`;
    context.textBaseline = "middle";
    context.fillStyle = css("--side");
    context.fillRect(edge, 0, width - edge, width - edge);
    for (const [t, p, n] of cells) {
      const share = n / Math.max(support[t], 1);
      // Where no numbers show single mistakes, shares grow as their root.
      context.globalAlpha = .08 + .92 * (count > 20 ? Math.sqrt(share) : share);
      context.fillStyle = css(t === p ? "--c0" : "--c1");
      context.fillRect(edge + p * side, t * side, side - (side > 6 ? 1 : 0), side - (side > 6 ? 1 : 0));
      context.globalAlpha = 1;
      if (count <= 20 && side > 18) {
        context.fillStyle = share > .5 && !matchMedia("(prefers-color-scheme: dark)").matches ? "#fff" : share > .5 ? "#000" : css("--ink");
        context.textAlign = "center";
        context.fillText(n, edge + (p + .5) * side, (t + .5) * side);
      }
    }
    if (edge) {
      context.fillStyle = css("--soft");
      classes.forEach((name, n) => {
        context.textAlign = "right";
        context.fillText(name, edge - 6, (n + .5) * side, edge - 8);
        context.save();
        context.translate(edge + (n + .5) * side, width - edge + 6);
        context.rotate(-Math.PI / 2);
        context.fillText(name, 0, 0, edge - 8);
        context.restore();
      });
    }
    if (at) {
      context.strokeStyle = css("--ink");
      context.lineWidth = 2;
      context.strokeRect(edge + at[1] * side, at[0] * side, side - 1, side - 1);
    }
  }
  function choose(next) {
    at = next && next.every(n => n >= 0 && n < count) ? next : null;
    draw();
    if (!at) { said.textContent = hidden; return; }
    const [t, p] = at, n = known.get(t * count + p) || 0, share = (100 * n / Math.max(support[t], 1)).toFixed(1);
    said.textContent = `${classes[t]} told as ${classes[p]}: ${n} of ${support[t]} (${share} %)`;
  }
  canvas.addEventListener("pointermove", event => {
    const edge = margin(), side = (canvas.clientWidth - edge) / count;
    choose([Math.floor(event.offsetY / side), Math.floor((event.offsetX - edge) / side)]);
  });
  canvas.addEventListener("pointerleave", () => choose(null));
  canvas.addEventListener("keydown", event => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    choose(at ? [0, 1].map(n => Math.min(count - 1, Math.max(0, at[n] + step[n]))) : [0, 0]);
  });
  new ResizeObserver(draw).observe(place);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}
