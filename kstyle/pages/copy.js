// A `button[data-copies]` copies the text of the element whose id it names, and says so for a moment.
for (const button of document.querySelectorAll("button[data-copies]")) {
  const said = button.textContent;
  button.addEventListener("click", async () => {
    const place = document.getElementById(button.dataset.copies);
    try {
      await navigator.clipboard.writeText(place.textContent);
      button.textContent = "Copied";
    } catch {  // not allowed here: it is selected, for Ctrl-C
      getSelection().selectAllChildren(place);
      button.textContent = "Selected: Ctrl-C copies";
    }
    setTimeout(() => { button.textContent = said; }, 1800);
  });
}
