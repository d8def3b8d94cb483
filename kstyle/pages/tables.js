// Tables that sort: a click on a head of `table.sorts` sorts its rows by that column, by number where a cell has
// `data-value`, empty cells last; a second click turns them around.
for (const table of document.querySelectorAll("table.sorts")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  const value = (row, at) => {
    const cell = row.cells[at], number = cell.dataset.value;
    return number === undefined ? cell.textContent : number === "" ? null : Number(number);
  };
  heads.forEach((head, at) => {
    const button = document.createElement("button");
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const each of heads) each.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const compare = (a, b) => a === null || b === null ? (a === null) - (b === null)
        : (down ? -1 : 1) * (typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true }));
      body.append(...[...body.rows].sort((a, b) => compare(value(a, at), value(b, at))));
    });
  });
}
