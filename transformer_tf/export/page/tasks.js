// What a page asks for and answers, by the task that model.json names. B batch (1), T length, V vocabulary, D width.

const BEST = 5;

export const TASKS = {
  continue: { fields: [text("Text to continue", "prompt"), count()], button: "Continue", answer: generate },
  answer: { fields: [text("Text", "prompt"), count()], button: "Go", answer: generate },
  fill: { fields: [text("Text with a gap", "text")], button: "Fill", answer: fill },
  classify: { fields: [text("Text", "text")], button: "Classify", answer: classify },
  compare: { fields: [text("A sentence", "text"), text("Another", "other")], button: "Compare", answer: compare },
  look: { fields: [{ name: "image", label: "Picture", type: "file" }], button: "Classify", answer: look },
};

function text(label, name) {
  return { name, label, type: "text" };
}

function count() {
  return { name: "tokens", label: "New tokens, at most", type: "number" };
}

// Greedy search or beams, as the file was made: one call gives the whole text.
async function generate(model, { prompt, tokens }) {
  const { architecture, length, max_length, eos } = model.card;
  const ids = model.encode(prompt);
  const read = architecture === "decoder" ? ids : [];
  const start = architecture === "decoder" ? length : 1;
  const limit = Math.min(start + Math.max(1, tokens), max_length);
  const inputs = model.padded(ids, architecture === "decoder" ? "left" : "right");
  const found = await model.run("generate", { ...inputs, limit: Int32Array.of(limit) });
  const row = [...found.tokens.slice(start, found.length[0])];
  const end = row.findIndex((token) => eos.includes(token));
  const said = end < 0 ? row : row.slice(0, end);
  const before = model.decode(read);
  return { before, text: model.decode([...read, ...said]).slice(before.length), tokens: end < 0 ? row.length : end + 1 };
}

// The most probable tokens for the gap (BERT, Devlin et al. 2018, 3.1).
async function fill(model, { text }) {
  const { mask, mask_token } = model.card;
  const ids = model.encode(text);
  const gap = ids.indexOf(mask);
  if (gap !== ids.lastIndexOf(mask)) throw new Error("There are several gaps, and this page fills one.");
  if (gap < 0) throw new Error(`Write ${mask_token} where a word is missing.`);
  const { logits } = await model.run("serving_default", model.padded(ids));
  const width = logits.length / model.card.length;
  const shares = softmax(logits.slice(gap * width, (gap + 1) * width));
  return { rows: best(shares, (token) => model.decode([token]) || model.tokenizer.id_to_token(token)) };
}

async function classify(model, { text }) {
  const { logits } = await model.run("serving_default", model.padded(model.encode(text)));
  return { rows: classes(model, logits) };
}

// The cosine of the angle between mean vectors (Sentence-BERT, Reimers and Gurevych 2019, 3).
async function compare(model, { text, other }) {
  const first = await vector(model, text);
  const second = await vector(model, other);
  return { rows: [["cosine", dot(first, second) / Math.sqrt(dot(first, first) * dot(second, second))]] };
}

async function vector(model, text) {
  const ids = model.encode(text);
  const { last_hidden_state } = await model.run("serving_default", model.padded(ids));
  const width = last_hidden_state.length / model.card.length;
  return Float64Array.from({ length: width }, (_, place) => {
    let sum = 0;
    for (let t = 0; t < ids.length; t++) sum += last_hidden_state[t * width + place];
    return sum / ids.length;
  });
}

// image: a canvas of the model's size.
async function look(model, { image }) {
  const { channels, scale, mean, deviation } = model.card.image;
  const { width, height } = image;
  const { data } = image.getContext("2d").getImageData(0, 0, width, height);
  const pixel_values = new Float32Array(channels * height * width);
  for (let place = 0; place < height * width; place++) {
    const [red, green, blue] = data.slice(4 * place, 4 * place + 3);
    const values = channels === 1 ? [(299 * red + 587 * green + 114 * blue) / 1000] : [red, green, blue];
    values.forEach((value, channel) => {
      pixel_values[channel * height * width + place] = (value * scale - mean[channel]) / deviation[channel];
    });
  }
  const { logits } = await model.run("serving_default", { pixel_values });
  return { rows: classes(model, logits) };
}

function classes(model, logits) {
  const { labels, problem_type } = model.card;
  const name = (place) => labels[place] ?? `class ${place}`;
  if (problem_type === "regression") return [...logits].map((value, place) => [name(place), value]);
  // As Hugging Face's pipelines have it.
  const isEachItsOwn = problem_type === "multi_label_classification" || logits.length === 1;
  return best(isEachItsOwn ? logits.map((value) => 1 / (1 + Math.exp(-value))) : softmax(logits), name);
}

function best(shares, name) {
  const places = [...shares.keys()].sort((one, other) => shares[other] - shares[one]);
  return places.slice(0, BEST).map((place) => [name(place), shares[place]]);
}

function softmax(logits) {
  const largest = logits.reduce((one, other) => Math.max(one, other));
  const powers = Float64Array.from(logits, (value) => Math.exp(value - largest));
  const sum = powers.reduce((one, other) => one + other);
  return powers.map((power) => power / sum);
}

function dot(one, other) {
  return one.reduce((sum, value, place) => sum + value * other[place], 0);
}
