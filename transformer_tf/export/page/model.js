// A LiteRT file, its tokenizer, and what a page has to know of them. B batch (1), T length, V vocabulary.

import { Tokenizer } from "@huggingface/tokenizers";
import { loadAndCompile, loadLiteRt, Tensor } from "@litertjs/core";

// What `wasm` stands beside, whether the runtime lies here or elsewhere.
const RUNTIME = new URL("../wasm/", import.meta.resolve("@litertjs/core")).href;

// Inputs that are zeros unless they are given.
const OPTIONAL = ["token_type_ids", "seed"];

export class Model {
  // card: what export_web has written of the model.
  constructor(card, compiled, tokenizer) {
    Object.assign(this, { card, compiled, tokenizer });
  }

  static async open() {
    const card = await json("model.json");
    await loadLiteRt(RUNTIME);
    const tokenizer = card.tokenizer ? new Tokenizer(await json("tokenizer.json"), {}) : null;
    return new Model(card, await loadAndCompile("model.tflite", { accelerator: "wasm" }), tokenizer);
  }

  // Ids of a text, with the special tokens that the tokenizer puts around it. Throws where the model cannot read as many.
  encode(text) {
    const ids = [...this.tokenizer.encode(text).ids];
    const { architecture, source_ends, vocab_size } = this.card;
    if (ids.some((id) => !(id < vocab_size))) throw new Error("The text holds what the tokenizer or the model does not know.");
    if (ids.length && architecture === "encoder_decoder" && source_ends.length && !source_ends.includes(ids.at(-1))) ids.push(source_ends[0]);
    if (!ids.length) throw new Error("The text is empty; there is nothing to begin from.");
    if (ids.length > this.card.length) throw new Error(`The text has ${ids.length} tokens, and this page reads ${this.card.length}.`);
    return ids;
  }

  decode(ids) {
    return ids.length ? this.tokenizer.decode(ids, { skip_special_tokens: true, clean_up_tokenization_spaces: false }) : "";
  }

  // Ids and mask of a text, filled up to the length that the file was made for.
  padded(ids, side = "right") {
    const { length, pad } = this.card;
    const start = side === "left" ? length - ids.length : 0;
    const input_ids = new Int32Array(length).fill(pad);
    const attention_mask = new Int32Array(length);
    input_ids.set(ids, start);
    attention_mask.fill(1, start, start + ids.length);
    return { input_ids, attention_mask };
  }

  // What a signature gives for typed arrays, by name. Segments and the seed may be left out.
  async run(signature, inputs) {
    const details = this.compiled.signatures[signature].getInputDetails();
    // Their memory is the runtime's, which collects nothing.
    const held = [];
    try {
      const tensors = {};
      for (const { name, shape } of details) {
        const array = inputs[name] ?? (OPTIONAL.includes(name) ? new Int32Array(shape.reduce((size, axis) => size * axis, 1)) : null);
        if (!array) throw new Error(`${signature} needs ${name}.`);
        held.push((tensors[name] = new Tensor(array, [...shape])));
      }
      const outputs = await this.compiled.run(signature, tensors);
      held.push(...Object.values(outputs));
      return Object.fromEntries(Object.entries(outputs).map(([name, tensor]) => [name, tensor.toTypedArray().slice()]));
    } finally {
      for (const tensor of held) tensor.delete();
    }
  }
}

async function json(file) {
  const response = await fetch(file);
  if (!response.ok) throw new Error(`${file} is not there (${response.status}).`);
  return response.json();
}
