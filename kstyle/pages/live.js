// A page that follows a run: once a second it asks its own server how far it is, as long as somebody looks at it.
(() => {
  const state = document.getElementById("state"), figures = document.querySelector(".figures");
  const after = document.querySelector(".compare .after, .painting .alone");
  let version = 0, failed = 0;

  function show(told) {
    state.textContent = told.state;
    figures.replaceChildren(...told.figures.map(([what, value]) => {
      const place = document.createElement("div"), term = document.createElement("dt"), text = document.createElement("dd");
      term.textContent = what;
      text.textContent = value;
      place.append(term, text);
      return place;
    }));
    const charts = document.querySelectorAll(".chart");
    if (charts.length < told.charts.length && !told.ended) { location.reload(); return; }
    charts.forEach((place, n) => place.setRows(told.charts[n].x, told.charts[n].lines, told.charts[n].marks));
    if (after && told.version !== version) {
      version = told.version;
      const next = new Image();
      next.onload = () => { after.src = next.src; };
      next.src = `picture?v=${version}`;
    }
  }
  async function look() {
    let ended = false;
    if (!document.hidden) {
      try {
        const told = await (await fetch("state.json")).json();
        failed = 0;
        show(told);
        ended = told.ended;
      } catch {
        ended = ++failed > 2;
        if (ended) state.textContent = "The run does not answer any more: it has ended, or was stopped. This is the last that was seen of it.";
      }
    }
    if (!ended) setTimeout(look, 1000);
  }
  look();
})();
