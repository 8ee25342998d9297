// Makes elements. Text becomes text and nothing else: no string is ever read as markup.

const ATTRIBUTES = new Set([
  "aria-describedby", "aria-hidden", "aria-label", "aria-live", "class", "datetime", "href", "id", "max", "open", "role",
  "tabindex", "title", "type", "value", "viewBox", "cx", "cy", "r", "d",
]);
const DRAWING = "http://www.w3.org/2000/svg";
const MARKS = { good: ["M15 25l7 7 12-15"], bad: ["M16 16l16 16", "M32 16l-16 16"], warn: ["M24 13v14", "M24 34v.5"] };

/** Make an element. Children are elements or text; false, null and undefined are left out. */
export function element(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function fill(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (!ATTRIBUTES.has(name)) throw new Error(`An attribute that is not written here: ${name}`);
    if (name === "href" && !value.startsWith("#")) throw new Error("A link that leads away.");
    if (value !== false && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== false && child !== null && child !== undefined));
  return made;
}

/** Put other children into an element. */
export function replace(parent, ...children) {
  parent.replaceChildren(...children.flat().filter(Boolean));
}

/** Draw the sign of a verdict: good, bad or warn. */
export function mark(look) {
  const draw = (tag, attributes) => fill(document.createElementNS(DRAWING, tag), attributes, []);
  const sign = draw("svg", { viewBox: "0 0 48 48", "aria-hidden": "true" });
  sign.append(draw("circle", { cx: "24", cy: "24", r: "21" }), ...MARKS[look].map((d) => draw("path", { d })));
  return sign;
}

/** A pill: a word in a colour. */
export function pill(look, text) {
  return element("span", { class: `pill ${look}` }, text);
}

/** Text in the type of machines. */
export function code(text, kind = "") {
  return element("code", kind ? { class: kind } : {}, text);
}

/** A row of a list of facts. */
export function fact(name, ...content) {
  return element("div", {}, element("dt", {}, name), element("dd", {}, ...content));
}

/** A button that does something. */
export function button(text, action, kind = "") {
  const made = element("button", { type: "button", class: kind || undefined }, text);
  made.addEventListener("click", action);
  return made;
}

/** A time in UTC, from milliseconds, and how long ago it is. */
export function time(milliseconds, now) {
  const written = new Date(milliseconds).toISOString().replace(".000Z", "Z").replace(/\.\d{3}Z$/, "Z");
  const shown = written.replace("T", " ").replace("Z", " UTC");
  const ago = now === undefined ? "" : ` (${distance(now - milliseconds)})`;
  return element("time", { datetime: written }, shown + ago);
}

/** Say how long ago something is. */
export function distance(milliseconds) {
  const seconds = Math.round(Math.abs(milliseconds) / 1000);
  if (seconds === 0) return "just now";
  const [count, unit] = [[86400, "day"], [3600, "hour"], [60, "minute"], [1, "second"]]
    .map(([length, name]) => [Math.floor(seconds / length), name])
    .find(([number]) => number > 0);
  const text = `${count} ${unit}${count === 1 ? "" : "s"}`;
  return milliseconds < 0 ? `in ${text}` : `${text} ago`;
}

/** Say a number of things. */
export function counted(number, thing, things = `${thing}s`) {
  return `${Number(number).toLocaleString("en")} ${BigInt(number) === 1n ? thing : things}`;
}
