/** A model that is ready to run on LiteRT.js: WebAssembly, one thread. */

import { loadAndCompile, loadLiteRt, Tensor } from "@litertjs/core";

import { BundleError, checkContent, checkRunnable } from "./bundle.js";
import { preprocess } from "./preprocess.js";
import { real, store } from "./tensors.js";

let runtime; // loaded once, when the first model needs it

export class Classifier {
  #model;
  #grey; // a picture to measure the latency of, which does not depend on what it shows

  constructor(sidecar, model) {
    this.sidecar = sidecar;
    this.#model = model;
    this.#grey = this.#tensor(
      new Uint8Array(sidecar.input.shape.reduce((a, b) => a * b)).fill(128),
    );
  }

  /**
   * Returns a classifier, or throws a BundleError whose message is a sentence.
   *
   * @param {object} sidecar of `parseSidecar`
   * @param {Uint8Array} content of the .tflite
   */
  static async load(sidecar, content) {
    await checkContent(sidecar, content);
    checkRunnable(sidecar);
    await (runtime ??= loadRuntime());
    let model;
    try {
      model = await loadAndCompile(content, { accelerator: "wasm" });
      const shape = [...model.getInputDetails()[0].shape]; // the JSON does not tell an open batch
      checkRunnable({ ...sidecar, input: { ...sidecar.input, shape } });
      const classifier = new Classifier(sidecar, model);
      await classifier.run(); // what it refuses it refuses now
      return classifier;
    } catch (error) {
      model?.delete(); // WebAssembly's memory is not collected
      if (error instanceof BundleError) throw error;
      throw new BundleError(`LiteRT.js cannot run ${sidecar.name}: ${error.message}`);
    }
  }

  /** Returns the logits of a picture: `{width, height, data}`, RGBA. */
  async logits(picture) {
    const input = this.#tensor(preprocess(picture, this.sidecar.input.shape.slice(1)));
    let output;
    try {
      [output] = await this.#model.run(input);
      return real(await output.data(), this.sidecar.output);
    } finally {
      input.delete();
      output?.delete();
    }
  }

  /** Runs once, for its time. */
  async run() {
    const [output] = await this.#model.run(this.#grey);
    output.delete();
  }

  delete() {
    this.#grey.delete();
    this.#model.delete();
  }

  #tensor(pixels) {
    const { input } = this.sidecar;
    return new Tensor(store(pixels, input), input.shape);
  }
}

async function loadRuntime() {
  try {
    return await loadLiteRt("litert/wasm/");
  } catch {
    runtime = undefined; // another try may find the network again
    throw new BundleError("LiteRT.js itself cannot be fetched or started.");
  }
}
