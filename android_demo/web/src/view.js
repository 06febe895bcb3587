/** What the page shows; it keeps no state but the DOM. */

import { bytes, milliseconds, percent, times } from "./format.js";

const $ = (id) => document.getElementById(id);

/** Returns an element with attributes and children. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  Object.assign(element, attributes);
  element.append(...children);
  return element;
}

/** Shows sentences about what went wrong; none clears them. */
export function showMessage(...sentences) {
  $("message").textContent = sentences.join("\n");
  $("message").hidden = sentences.length === 0;
  if (sentences.length) $("message").scrollIntoView({ block: "nearest" });
}

/** Shows a button for each sample. */
export function showSamples(samples, onPick) {
  const buttons = samples.map((sample) => {
    const image = make("img", { src: sample.url, alt: sample.label });
    const button = make("button", { type: "button", title: sample.label }, image);
    button.addEventListener("click", () => onPick(sample));
    return button;
  });
  $("samples").replaceChildren(...buttons);
}

/** Shows a picture, small ones in large pixels, and which sample it is. */
export function showPicture({ pixels, caption, url }) {
  const canvas = $("shown");
  canvas.width = pixels.width;
  canvas.height = pixels.height;
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  canvas.classList.toggle("tiny", Math.max(pixels.width, pixels.height) < 100);
  $("caption").textContent = caption;
  for (const button of $("samples").children) {
    button.setAttribute("aria-pressed", String(button.firstChild.src === url?.href));
  }
}

/** Shows the most likely classes of a model, if there is one. */
export function showAnswers({ sidecar, answers } = { answers: [] }) {
  $("answer-model").textContent = answers.length ? `of ${sidecar.name}` : "";
  $("answers").replaceChildren(
    ...answers.map(({ label, probability }) => {
      const bar = make("span", { className: "bar" });
      bar.style.setProperty("--share", probability);
      const share = make("span", { className: "number" }, percent(probability));
      return make("li", {}, make("span", { className: "label" }, label), share, bar);
    }),
  );
}

/**
 * Shows a row for each model, compared with the first.
 *
 * @param {{sidecar: object, latency: number | null, answers: object[]}[]} models
 * @param {string} chosen the name of the one whose answers are shown
 */
export function showModels(models, chosen, onChoose) {
  const [first] = models;
  const rows = models.map(({ sidecar, latency, answers: [answer] }) => {
    const radio = make("input", { type: "radio", name: "model", checked: sidecar.name === chosen });
    radio.addEventListener("change", () => onChoose(sidecar.name));
    const says = answer ? `says ${answer.label}, ${percent(answer.probability)}` : "";
    const name = make("label", {}, radio, breakable(sidecar.name), small(says));
    return make(
      "tr",
      { role: "row" },
      make("th", { role: "rowheader", scope: "row" }, name),
      number(bytes(sidecar.size_bytes), times(first.sidecar.size_bytes, sidecar.size_bytes)),
      number(bytes(sidecar.gzip_bytes), times(first.sidecar.gzip_bytes, sidecar.gzip_bytes)),
      number(percent(sidecar.accuracy, 2)),
      number(milliseconds(latency), times(first.latency, latency)),
    );
  });
  const focused = [...$("rows").querySelectorAll("input")].indexOf(document.activeElement);
  $("rows").replaceChildren(...rows);
  $("rows").querySelectorAll("input")[focused]?.focus();
  $("table").hidden = models.length === 0;
  $("notes").textContent = models.length ? notes(models.map(({ sidecar }) => sidecar)) : "";
}

/** Shows how far a measurement is, from 0 to 1; null when there is none. */
export function showMeasuring(share) {
  $("measuring").hidden = share === null;
  $("measuring").value = share ?? 0;
  $("measure").disabled = share !== null;
}

/** Shows whether the page works without a network. */
export function showOffline(sentence) {
  $("offline").textContent = sentence;
}

/** Calls back with the files that someone chooses, takes or drops. */
export function onFiles(callback) {
  for (const input of document.querySelectorAll("input[type=file]")) {
    input.addEventListener("change", () => {
      callback([...input.files]);
      input.value = ""; // so that the same file can be chosen again
    });
  }
  addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dropping");
  });
  addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    callback([...event.dataTransfer.files]);
  });
}

export function onMeasure(callback) {
  $("measure").addEventListener("click", callback);
}

function notes(sidecars) {
  const counts = new Set(sidecars.map((sidecar) => sidecar.accuracy_images).filter(Boolean));
  const images = counts.size === 1 ? ` on ${[...counts][0].toLocaleString("en")} test images` : "";
  return (
    `Accuracy${images}, as exported. Latency: here and now, on one thread, the median of 50 turns;` +
    ` × compares with ${sidecars[0].name}.`
  );
}

const number = (text, beside = "") => make("td", { role: "cell" }, text, small(beside));
const small = (text) => make("small", {}, text);

/** Returns a name that may be broken after its dashes, where a phone is narrow. */
function breakable(name) {
  const parts = name.split(/(?<=[-_])/).flatMap((part) => [part, make("wbr")]);
  return make("span", {}, ...parts);
}
