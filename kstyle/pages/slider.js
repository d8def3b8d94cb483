// Before and after: each `.compare` has an input of type range over its pictures, which is what pointer, touch and keys
// move; the first picture is clipped there. See templates/parts.html.jinja for its markup, base.css for its look.
for (const place of document.querySelectorAll(".compare")) {
  const input = place.querySelector("input");
  const [left, right] = place.querySelectorAll(".said");
  const move = () => {
    place.style.setProperty("--at", `${input.value}%`);
    input.setAttribute("aria-valuetext", `${Math.round(input.value)} % before`);
    if (left) left.hidden = input.value < 18;
    if (right) right.hidden = input.value > 82;
  };
  input.addEventListener("input", move);
  move();
}
