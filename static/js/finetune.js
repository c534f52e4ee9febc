// The fine-tune page: choosing and dropping files, what belongs together before anything is sent, and the live run.
import { formats, isAnnotation } from "./formats.js";
import { dropped, masksAmong, pair, sort } from "./sorting.js";
import { toast } from "./toast.js";

const { post_files: MAX_FILES, post_bytes: MAX_BYTES } = formats.limits;
let urls = []; // of the little images on show, to be given back

const inputs = (form) => ({ images: form.elements.images, masks: form.elements.masks, archives: form.elements.archives });

function put(input, files) {
  const transfer = new DataTransfer();
  for (const file of files) transfer.items.add(file);
  input.files = transfer.files;
}

function peek(file) {
  const image = document.createElement("img");
  const url = URL.createObjectURL(file);
  urls.push(url);
  Object.assign(image, { src: url, alt: "", loading: "lazy", decoding: "async" });
  image.addEventListener("error", () => image.remove());
  return image;
}

function line(text, className = "") {
  const span = document.createElement("span");
  span.textContent = text;
  span.className = className;
  span.title = text;
  return span;
}

function card(row, form) {
  const item = document.createElement("li");
  item.className = row.image && row.mask ? "pair" : "pair odd";
  const box = document.createElement("div");
  box.className = "peek";
  for (const file of [row.image, row.mask]) if (file) box.append(peek(file));
  const names = document.createElement("div");
  names.className = "names";
  names.append(line(row.image ? row.image.name : "image missing", row.image ? "" : "missing"));
  names.append(line(row.mask ? row.mask.name : "mask missing", row.mask ? "soft" : "missing"));
  const swap = document.createElement("button");
  swap.type = "button";
  swap.className = "button tiny quiet";
  swap.textContent = "⇄";
  swap.title = row.image && row.mask ? "Swap image and mask" : row.image ? "This is a mask" : "This is an image";
  swap.setAttribute("aria-label", `${swap.title}: ${(row.image || row.mask).name}`);
  swap.addEventListener("click", () => exchange(form, row));
  item.append(box, names, swap);
  return item;
}

function exchange(form, row) {
  const { images, masks } = inputs(form);
  const gone = new Set([row.image, row.mask]);
  put(images, [...[...images.files].filter((file) => !gone.has(file)), row.mask].filter(Boolean));
  put(masks, [...[...masks.files].filter((file) => !gone.has(file)), row.image].filter(Boolean));
  show(form);
}

// Says what was chosen: pairs, what is missing, what is too much.
function show(form) {
  const { images, masks, archives } = inputs(form);
  const box = form.querySelector("[data-pairs]");
  const rows = pair([...images.files], [...masks.files].filter((file) => !isAnnotation(file.name)));
  const [imagePaths, maskPaths] = pathsOf(images.files, masks.files);
  form.querySelector("[data-paths]").value = JSON.stringify({ images: imagePaths, masks: maskPaths });
  const files = [...images.files, ...masks.files, ...archives.files];
  for (const url of urls) URL.revokeObjectURL(url);
  urls = [];
  box.replaceChildren();
  box.hidden = !files.length;
  form.querySelector("[data-clear-choice]").hidden = !files.length;
  const paintable = images.files.length && files.length === images.files.length && document.querySelector(".paint-photos");
  form.querySelector("[data-draw]").hidden = !paintable;
  const send = form.querySelector("[data-send]");
  send.textContent = "Upload";
  send.disabled = false;
  if (!files.length) return;
  const whole = rows.filter((row) => row.image && row.mask).length;
  const bytes = files.reduce((sum, file) => sum + file.size, 0);
  const says = [];
  if (rows.length) says.push(`${whole} of ${rows.length} complete`);
  if (archives.files.length) says.push(`${archives.files[0].name}, opened after the upload`);
  if (files.length > MAX_FILES) says.push(`${files.length} files are too many at once: send at most ${MAX_FILES}`);
  if (bytes > MAX_BYTES) says.push(`${Math.round(bytes / 1e6)} MB are too much at once: send at most ${Math.floor(MAX_BYTES / 1e6)} MB`);
  send.disabled = files.length > MAX_FILES || bytes > MAX_BYTES;
  const words = document.createElement("p");
  words.className = "pairs-says";
  words.setAttribute("role", "status");
  words.textContent = says.join(". ") + ".";
  const list = document.createElement("ul");
  list.append(...rows.map((row) => card(row, form)));
  box.append(words, list);
  if (whole && whole === rows.length) send.textContent = `Upload ${whole} pair${whole === 1 ? "" : "s"}`;
}

// The folders that dropped files came from: a file input keeps names only.
const paths = new Map();
const keyOf = (file) => [file.name, file.size, file.lastModified].join("|");

function remember(found) {
  for (const { file, path } of found) paths.set(keyOf(file), [...(paths.get(keyOf(file)) ?? []), path]);
}

function pathsOf(...lists) {
  const seen = new Map();
  const pathOf = (file) => {
    const known = paths.get(keyOf(file)) ?? [file.webkitRelativePath || file.name];
    const place = seen.get(keyOf(file)) ?? 0;
    seen.set(keyOf(file), place + 1);
    return known[Math.min(place, known.length - 1)];
  };
  return lists.map((files) => [...files].map(pathOf));
}

async function take(form, found) {
  remember(found);
  const chosen = inputs(form);
  const sorted = await sort(found);
  put(chosen.images, [...chosen.images.files, ...sorted.images]);
  put(chosen.masks, [...chosen.masks.files, ...sorted.masks]);
  if (sorted.archives.length) put(chosen.archives, [sorted.archives[0]]);
  if (sorted.other.length) toast(`${sorted.other[0].name} is neither an image, nor annotations, nor a zip, so it was left out.`, "warn");
  show(form);
}

// A file dialog opens for one field, and people choose everything there.
async function separate(form) {
  const { images, masks } = inputs(form);
  if (masks.files.length) return;
  const found = await masksAmong([...images.files]);
  if (!found.size) return;
  put(masks, [...found]);
  put(images, [...images.files].filter((file) => !found.has(file)));
  toast(`${found.size} of the files you chose as images look like their masks and were taken as masks. ⇄ swaps the two.`);
}

const zone = (event) => event.target.closest && event.target.closest("[data-drop]");

// The whole page is a target: the zone itself may be folded away.
const target = () => document.querySelector("[data-drop]");
document.addEventListener("dragover", (event) => {
  if (!target() || ![...event.dataTransfer.types].includes("Files")) return;
  event.preventDefault();
  for (let box = target().closest("details"); box; box = box.parentElement.closest("details")) box.open = true;
  target().classList.add("over");
});
document.addEventListener("dragleave", (event) => { if (target() && !event.relatedTarget) target().classList.remove("over"); });
document.addEventListener("drop", async (event) => {
  const form = target();
  if (!form || !event.dataTransfer.items.length) return;
  event.preventDefault();
  form.classList.remove("over");
  const found = dropped(event.dataTransfer); // reads the list before the event is over
  await take(form, await found);
});
document.addEventListener("change", async (event) => {
  const form = zone(event);
  if (!form || event.target.type !== "file") return;
  if (event.target === form.elements.images) await separate(form);
  show(form);
});
document.addEventListener("click", (event) => {
  if (!event.target.closest("[data-clear-choice]")) return;
  const form = zone(event);
  for (const input of Object.values(inputs(form))) input.value = "";
  show(form);
});

// Images without a single mask are sent to be painted by the form for that.
document.addEventListener("click", (event) => {
  if (!event.target.closest("[data-draw]")) return;
  const paint = document.querySelector(".paint-photos");
  put(paint.elements.images, [...inputs(zone(event)).images.files]);
  paint.requestSubmit();
});

// --- the upload itself ---
const sending = (form, on) => {
  form.querySelector("[data-sent]").hidden = !on;
  form.querySelector("[data-send]").disabled = on;
  if (!on) form.querySelector("[data-sent-words]").textContent = "";
};

// Figures that come when another answer has replaced the live part have no place any more, and htmx would look for one.
function dropLate(event) {
  if (event.target === event.currentTarget && !event.target.isConnected) event.preventDefault();
}

document.addEventListener("htmx:beforeRequest", ({ target }) => {
  if (target.id === "run-live") target.addEventListener("htmx:beforeOnLoad", dropLate); // out of the page it does not bubble
});
document.addEventListener("htmx:beforeRequest", (event) => { if (event.target.matches("[data-drop]")) sending(event.target, true); });
document.addEventListener("htmx:afterRequest", (event) => { if (event.target.matches("[data-drop]")) sending(event.target, false); });
document.addEventListener("htmx:xhr:progress", (event) => {
  const form = zone(event);
  if (!form || !event.detail.lengthComputable) return;
  const part = event.detail.loaded / event.detail.total;
  form.querySelector("[data-sent]").value = part;
  form.querySelector("[data-sent-words]").textContent = part < 1 ? `${Math.round(part * 100)} % sent` : "Sent. Reading the images…";
});

// --- after a change the page lands on the step that is next; polls leave it where it is ---
let landed = "";
function land() {
  const studio = document.getElementById("studio");
  if (!studio) return;
  for (const element of studio.querySelectorAll("[data-with-script], [data-left-side]")) element.hidden = false;
  for (const element of studio.querySelectorAll("[data-without-script]")) element.hidden = true;
  const before = landed;
  landed = studio.dataset.land;
  if (!before || before === landed) return;
  const summary = document.querySelector(`#step-${landed} > summary`);
  if (summary) summary.focus({ preventScroll: true });
  if (summary) summary.scrollIntoView({ block: "start" });
  const words = { train: "Training has started.", classes: "Images are uploaded. Check the classes.", result: "Training is done." }[landed];
  if (words) announce(words);
}
function announce(words) {
  document.getElementById("announcer").textContent = words;
}
document.addEventListener("htmx:afterSettle", () => {
  land();
  const live = document.getElementById("run-figures");
  const tenth = live && live.dataset.state === "running" ? Math.floor(10 * live.dataset.progress) : 0;
  if (tenth && tenth !== announced) announce(`Training, ${tenth}0 percent.`);
  announced = tenth;
});
let announced = 0;

// --- the preview: the image on show stays until the next one has come, so that nothing flickers ---
document.addEventListener("htmx:afterSettle", () => {
  const wanted = document.querySelector("[data-preview]")?.dataset.preview;
  const image = document.getElementById("run-preview");
  if (!wanted || !image || image.getAttribute("src") === wanted) return;
  const next = new Image();
  next.addEventListener("load", () => { image.src = wanted; });
  next.src = wanted;
});
document.addEventListener("htmx:afterSwap", () => {
  const problems = document.querySelector("#studio-problems .note");
  if (problems && !problems.dataset.seen) {
    problems.dataset.seen = "1";
    problems.scrollIntoView({ block: "center" });
  }
});
land();

// --- what the result is compared with ---
document.addEventListener("change", (event) => {
  if (event.target.name !== "left-side") return;
  const names = { base: "Base model", image: "Image", truth: "Your mask" };
  for (const figure of document.querySelectorAll(".before-after[data-image]")) {
    figure.querySelector("[data-left]").src = figure.dataset[event.target.value];
    figure.querySelector("[data-left-name]").textContent = names[event.target.value];
  }
});
