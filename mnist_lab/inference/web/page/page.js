"use strict";

// An image goes to the server as it is; one at a time, and of those that wait only the last.

const $ = (id) => document.getElementById(id);
const canvas = $("canvas");
const pen = canvas.getContext("2d", { willReadFrequently: true });
const small = document.createElement("canvas");
small.width = small.height = 160;
const smallPen = small.getContext("2d", { willReadFrequently: true });
const PEN_WIDTH = 22; // of 320, about as thick as MNIST's strokes
const BLANK = "\u2013";

let strokes = []; // each a list of [x, y]
let current = null;
let dropped = null; // an image, as an ImageBitmap, where the browser can show it
let cards = new Map(); // by run
let maxBytes = Infinity;
let isAsking = false;
let waiting = null; // makes the next request's body
let version = 0; // of what is on the paper; an answer to an older one is shown, unless it was cleared
let clearedAt = 0;

// --- drawing

function draw() {
  pen.clearRect(0, 0, canvas.width, canvas.height);
  if (dropped) {
    const scale = Math.min(canvas.width / dropped.width, canvas.height / dropped.height);
    const [width, height] = [dropped.width * scale, dropped.height * scale];
    pen.drawImage(dropped, (canvas.width - width) / 2, (canvas.height - height) / 2, width, height);
  }
  pen.strokeStyle = pen.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--ink");
  pen.lineWidth = PEN_WIDTH;
  pen.lineCap = pen.lineJoin = "round";
  for (const stroke of strokes) {
    pen.beginPath();
    const [x, y] = stroke[0];
    pen.moveTo(x, y);
    for (const [toX, toY] of stroke) pen.lineTo(toX, toY);
    if (stroke.length === 1) pen.lineTo(x + 0.01, y);
    pen.stroke();
  }
  $("hint").hidden = strokes.length > 0 || dropped !== null;
}

function place(event) {
  const box = canvas.getBoundingClientRect();
  const scale = canvas.width / box.width;
  return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
}

canvas.addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  canvas.setPointerCapture(event.pointerId);
  dropped = null;
  current = [place(event)];
  strokes.push(current);
  changed();
});
canvas.addEventListener("pointermove", (event) => {
  if (!current) return;
  const between = event.getCoalescedEvents?.() ?? [];
  for (const one of between.length > 0 ? between : [event]) current.push(place(one));
  changed();
});
for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { current = null; });

function changed() {
  draw();
  if (strokes.length === 0) return clear();
  ask(copied);
}

// What is on the paper when it is sent, in the size that the network's 28 x 28 need. Not by toBlob,
// which waits until the browser is idle, and so as long as one draws.
function copied() {
  smallPen.clearRect(0, 0, small.width, small.height);
  smallPen.drawImage(canvas, 0, 0, small.width, small.height);
  const [, data] = small.toDataURL("image/png").split(",");
  return Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
}

function clear() {
  strokes = [];
  current = dropped = waiting = null;
  clearedAt = ++version;
  draw();
  show(null);
  say("");
}

$("clear").addEventListener("click", clear);
$("undo").addEventListener("click", () => { dropped = null; strokes.pop(); changed(); });
document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key === "z") $("undo").click();
  if (event.key === "Escape" || event.key === "Delete") clear();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

// --- images

async function take(file) {
  clear();
  if (file.size > maxBytes) return say(`The image is larger than ${Math.round(maxBytes / 1e6)} MB.`, true);
  ask(() => file);
  const mine = version;
  try {
    const bitmap = await createImageBitmap(file);
    if (mine !== version) return;
    dropped = bitmap;
    draw();
  } catch {
    // The browser cannot show it, as TIFF; the server may read it all the same.
  }
}

const first = (files) => { if (files.length > 0) take(files[0]); };
$("choose").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => { first($("file").files); $("file").value = ""; });
document.addEventListener("paste", (event) => first(event.clipboardData.files));
document.addEventListener("dragover", (event) => { event.preventDefault(); $("paper").classList.add("over"); });
document.addEventListener("dragleave", () => $("paper").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("paper").classList.remove("over");
  first(event.dataTransfer.files);
});

// --- asking

function ask(body) {
  version += 1;
  waiting = { body, since: waiting?.since ?? performance.now(), version };
  if (!isAsking) send();
}

async function send() {
  const { body, since, version: asked } = waiting;
  waiting = null;
  isAsking = true;
  try {
    const response = await fetch("/predict", { method: "POST", body: body() });
    const error = `Error of the server (${response.status}): see its terminal.`;
    const answer = await response.json().catch(() => ({ error }));
    if (asked > clearedAt) {
      if (answer.error) say(answer.error, true);
      else {
        say("");
        show(answer);
        $("took").textContent = `answered in ${Math.round(performance.now() - since)} ms`;
      }
    }
  } catch {
    say("No answer: is mnist-lab serve still running?", true);
  } finally {
    isAsking = false;
    if (waiting) send();
  }
}

// --- showing

function say(text, isError = false) {
  $("message").textContent = text;
  $("message").classList.toggle("error", isError);
}

function image(element, url) {
  element.hidden = !url;
  if (url) element.src = url;
}

function show(answer) {
  image($("seen"), answer?.seen);
  if (!answer) $("took").textContent = "";
  for (const [name, card] of cards) showRun(card, answer?.runs.find((one) => one.run === name));
}

// One digit: the probability of each class; several: each of them with its probability, in their order.
function showRun(card, run) {
  const digits = (run?.digits ?? []).filter((one) => one.digit !== null);
  const [first] = digits;
  const isOne = digits.length < 2;
  const shares = isOne ? first?.probabilities ?? [] : digits.map((one) => one.probability);
  const notes = (run?.digits ?? []).map((one) => one.note);
  const name = (digit) => card.names?.[digit] ?? digit;
  card.classList.toggle("several", !isOne);
  const all = digits.map((one) => name(one.digit)).join(card.names ? ", " : "");
  card.querySelector(".digit").textContent = all || BLANK;
  card.querySelector(".note").textContent = run?.error ?? (isOne ? notes[0] ?? "" : `${digits.length} digits, from left to right`);
  image(card.querySelector(".saliency"), run?.saliency);
  const list = card.querySelector(".classes");
  while (list.children.length < Math.max(card.names?.length ?? 10, shares.length)) list.append(row());
  [...list.children].forEach((item, number) => {
    const share = shares[number];
    item.hidden = !isOne && share === undefined;
    item.classList.toggle("first", !isOne || number === first?.digit);
    item.querySelector(".class").textContent = isOne ? name(number) : name(digits[number]?.digit) ?? "";
    item.querySelector(".bar").style.width = `${(share ?? 0) * 100}%`;
    item.querySelector(".share").textContent = share === undefined ? "" : `${(share * 100).toFixed(1)} %`;
    item.querySelector(".doubt").textContent = isOne ? "" : notes[number] ?? "";
  });
}

function row() {
  const item = document.createElement("li");
  for (const name of ["class", "track", "share", "doubt"]) {
    const part = document.createElement("span");
    part.className = name;
    item.append(part);
  }
  const bar = document.createElement("div");
  bar.className = "bar";
  item.querySelector(".track").append(bar);
  return item;
}

async function start() {
  const { runs, class_names: names, max_bytes: limit } = await (await fetch("/runs")).json();
  maxBytes = limit;
  for (const name of runs) {
    const card = $("card").content.cloneNode(true).firstElementChild;
    card.querySelector("h2").textContent = name;
    card.names = Object.hasOwn(names, name) ? names[name] : null; // null: numbers
    card.classList.toggle("named", card.names !== null);
    $("runs").append(card);
    cards.set(name, card);
  }
  clear();
}

start();
