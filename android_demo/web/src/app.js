/** The page: what is loaded, what is chosen, and what happens on a click. */

import { Classifier } from "./classifier.js";
import { areBundles, pairFiles, readBundle, readIndex } from "./folder.js";
import { keepForOffline } from "./offline.js";
import { readPicture } from "./picture.js";
import { top } from "./scores.js";
import { latencies } from "./timing.js";
import * as view from "./view.js";

const FOLDER = new URL("assets/", document.baseURI);
const ROUNDS = 50;

/** @type {{sidecar: object, classifier: Classifier, answers: object[], latency: number | null}[]} */
const models = [];
let chosen; // the name of the model whose top three are shown
let picture; // {pixels, caption, url}
let measurement = 0; // the latest; an older one gives up

/** Does one thing after the other, however fast someone clicks; what fails says so. */
let last = Promise.resolve();
function inTurn(work) {
  last = last.then(work).catch((error) => view.showMessage(error.message));
  return last;
}

async function start() {
  const { models: names, samples } = await readIndex(FOLDER);
  view.showSamples(samples, (sample) => {
    view.showMessage();
    inTurn(() => pick(sample));
  });
  const refused = await add(names.map((name) => readBundle(FOLDER, name)));
  view.showMessage(...refused);
  chosen = models[0]?.sidecar.name;
  if (samples.length) await pick(samples[0]);
  else render();
}

/** Adds bundles, given as promises of `{sidecar, content}`; returns a sentence for each refused. */
async function add(bundles) {
  const refused = [];
  for (const { value, reason } of await Promise.allSettled(bundles)) {
    try {
      if (reason) throw reason;
      const { sidecar, content } = value;
      const classifier = await Classifier.load(sidecar, content);
      remove(sidecar.name);
      models.push({ sidecar, classifier, answers: [], latency: null });
      chosen = sidecar.name;
    } catch (error) {
      refused.push(error.message);
    }
  }
  return refused;
}

/** Removes a model that another of the same name replaces. */
function remove(name) {
  const place = models.findIndex(({ sidecar }) => sidecar.name === name);
  if (place < 0) return;
  measurement++;
  models.splice(place, 1)[0].classifier.delete();
}

async function pick({ url, label }) {
  const file = await (await fetch(url)).blob();
  await classify({ pixels: await readPicture(file, label), caption: `Labelled “${label}”`, url });
}

async function open(files) {
  view.showMessage();
  if (areBundles(files)) {
    view.showMessage(...(await add(pairFiles(files))));
    measure();
    if (picture) await classify(picture);
    else render();
  } else if (files.length) {
    const [file] = files;
    await classify({ pixels: await readPicture(file, file.name), caption: file.name });
  }
}

/** Shows a picture, and what every model makes of it. */
async function classify(shown) {
  const answers = [];
  for (const { classifier, sidecar } of models) {
    answers.push(top(await classifier.logits(shown.pixels), sidecar.labels));
  }
  picture = shown; // all at once: a picture never stands beside the answers to another
  models.forEach((model, i) => (model.answers = answers[i]));
  view.showPicture(picture);
  render();
}

async function measure() {
  const number = ++measurement;
  const timed = [...models];
  const progress = async (round) => {
    view.showMeasuring(round / ROUNDS);
    await new Promise(requestAnimationFrame); // the page stays alive meanwhile
    if (number !== measurement) throw new Error("outdated");
  };
  try {
    const tasks = timed.map(({ classifier }) => classifier.run.bind(classifier));
    const medians = await latencies(tasks, { rounds: ROUNDS, progress });
    timed.forEach((model, i) => (model.latency = medians[i]));
    view.showMeasuring(null);
    render();
  } catch (error) {
    if (number !== measurement) return; // a later one measures, perhaps other models
    view.showMeasuring(null);
    view.showMessage(error.message);
  }
}

function render() {
  view.showModels(models, chosen, (name) => {
    chosen = name;
    showAnswers();
  });
  showAnswers();
}

function showAnswers() {
  view.showAnswers(models.find(({ sidecar }) => sidecar.name === chosen));
}

view.onFiles((files) => inTurn(() => open(files)));
view.onMeasure(measure);
inTurn(start).then(keepForOffline).then(view.showOffline).then(measure);
