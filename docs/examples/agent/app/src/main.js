import "./style.css";
import { greeting } from "./greeting.js";

let count = 0; // lives as long as this page

const title = document.createElement("h1");
const button = document.createElement("button");
document.querySelector("#app").append(title, button);

function show(text) {
  title.textContent = text;
  button.textContent = `count is ${count}`;
}

button.addEventListener("click", () => {
  count += 1;
  show(title.textContent);
});
show(greeting());

import.meta.hot?.accept("./greeting.js", (changed) => changed && show(changed.greeting()));
