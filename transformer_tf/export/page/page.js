// The page: a form for the model's task, and its answers. Nothing that is typed leaves it.

import { TASKS } from "./tasks.js";

const [title, state, form, output] = ["h1", "#state", "form", "output"].map((name) => document.querySelector(name));

try {
  const began = performance.now();
  // Inside the block: a package that cannot be fetched is told of too.
  const { Model } = await import("./model.js");
  const model = await Model.open();
  const { card } = model;
  document.title = title.textContent = card.title;
  build(model, TASKS[card.task]);
  state.textContent = `Loaded in ${seconds(began)}.`;
  // Whoever opens the page by a program has the model here.
  window.model = model;
} catch (error) {
  fail(error);
}

function build(model, task) {
  for (const field of task.fields) {
    const label = form.appendChild(document.createElement("label"));
    label.textContent = field.label;
    label.append(control(model, field));
  }
  const button = form.appendChild(document.createElement("button"));
  button.textContent = task.button;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (form.ariaBusy === "true") return;
    form.ariaBusy = "true";
    state.textContent = "Computing…";
    // The runtime computes where the page is drawn, which comes first.
    await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
    try {
      const began = performance.now();
      const answer = await task.answer(model, await values(model, task));
      show(answer);
      state.textContent = `${answer.tokens ? `${answer.tokens} tokens in ` : ""}${seconds(began)}`;
    } catch (error) {
      fail(error);
    }
    form.ariaBusy = "false";
  });
}

function control(model, { name, type }) {
  const { card } = model;
  const input = document.createElement(type === "text" ? "textarea" : "input");
  input.name = name;
  input.required = true;
  if (type === "text") {
    input.rows = 3;
    input.value = card.examples[name] ?? "";
  } else if (type === "number") {
    const most = card.max_length - (card.architecture === "decoder" ? card.length : 1);
    Object.assign(input, { type, min: 1, max: most, value: Math.min(64, most) });
  } else {
    Object.assign(input, { type, accept: "image/*" });
  }
  return input;
}

async function values(model, task) {
  const given = new FormData(form);
  const pairs = task.fields.map(async ({ name, type }) => {
    const value = given.get(name);
    return [name, type === "number" ? Number(value) : type === "file" ? await canvas(value, model.card.image.size) : value];
  });
  return Object.fromEntries(await Promise.all(pairs));
}

// A picture in the model's square.
async function canvas(file, size) {
  const image = Object.assign(document.createElement("canvas"), { width: size, height: size });
  const context = image.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  // Behind what is transparent.
  context.fillStyle = "white";
  context.fillRect(0, 0, size, size);
  const bitmap = await createImageBitmap(file);
  context.drawImage(bitmap, 0, 0, size, size);
  bitmap.close();
  return image;
}

function show({ before, text, rows }) {
  output.className = "";
  if (!rows) {
    const said = document.createElement("mark");
    said.textContent = text;
    output.replaceChildren(before, said);
    return;
  }
  const table = document.createElement("table");
  for (const [name, value] of rows) {
    const row = table.insertRow();
    row.insertCell().textContent = name;
    row.insertCell().textContent = value.toFixed(4);
    const bar = row.insertCell();
    bar.className = "share";
    bar.style.backgroundSize = `${100 * Math.min(1, Math.max(0, value))}% 100%`;
  }
  output.replaceChildren(table);
}

function fail(error) {
  state.textContent = "";
  output.className = "error";
  output.textContent = error.message ?? String(error);
}

function seconds(began) {
  return `${((performance.now() - began) / 1000).toFixed(2)} s`;
}
