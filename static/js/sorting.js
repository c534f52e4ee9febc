// Which of the dropped files are images, which are masks, and which belong together. Knows nothing of the page.
import { isAnnotation, isArchive, isImage, isMaskFile, kindOfFolder, withoutMaskEnding } from "./formats.js";

const PNG = [0x89, 0x50, 0x4e, 0x47];
const [GREY, PALETTE] = [0, 3]; // colour types in a PNG's header

function stem(name) {
  const bare = name.split(/[\\/]/).pop();
  const dot = bare.lastIndexOf(".");
  return (dot > 0 ? bare.slice(0, dot) : bare).normalize("NFC").toLowerCase();
}

// A PNG says in its header whether it is grey or has a palette: photos seldom do, masks mostly.
async function looksLikeMask(file) {
  const head = new Uint8Array(await file.slice(0, 26).arrayBuffer());
  if (PNG.some((byte, k) => head[k] !== byte)) return false;
  return head[25] === GREY || head[25] === PALETTE || (await fewColours(file));
}

async function fewColours(file) {
  try {
    const bitmap = await createImageBitmap(file, { resizeWidth: 64, resizeHeight: 64, resizeQuality: "pixelated" });
    const canvas = new OffscreenCanvas(64, 64);
    const pen = canvas.getContext("2d", { willReadFrequently: true });
    pen.drawImage(bitmap, 0, 0);
    return new Set(new Uint32Array(pen.getImageData(0, 0, 64, 64).data.buffer)).size <= 64;
  } catch {
    return false;
  }
}

// The innermost folder with a telling name decides, then the file's own name, then its pixels.
async function isMask(file, path) {
  const folders = path.split(/[\\/]/).slice(0, -1).reverse();
  const told = folders.map(kindOfFolder).find((kind) => kind);
  if (told) return told === "mask";
  const own = stem(file.name);
  return withoutMaskEnding(own) !== own || kindOfFolder(own) === "mask" || looksLikeMask(file);
}

// files: [{file, path}] -> {images, masks, archives, other}. What the browser knows as an image but the server does not
// read goes along with the images, so that the server can say what to do with it.
export async function sort(files) {
  const sorted = { images: [], masks: [], archives: [], other: [] };
  for (const { file, path } of files) {
    if (file.name.startsWith(".")) continue;
    if (isArchive(file.name)) sorted.archives.push(file);
    else if (isAnnotation(file.name)) sorted.masks.push(file);
    else if (!isImage(file.name) && !isMaskFile(file.name) && !file.type.startsWith("image/")) sorted.other.push(file);
    else if (await isMask(file, path)) sorted.masks.push(file);
    else sorted.images.push(file);
  }
  return sorted;
}

// Of files that were all chosen as images, those that are the mask of another one: by its name with a mask's ending, or
// by the same name where only this one looks like a mask.
export async function masksAmong(images) {
  const byStem = new Map();
  for (const file of images) byStem.set(stem(file.name), [...(byStem.get(stem(file.name)) ?? []), file]);
  const masks = [];
  for (const file of images) {
    const own = stem(file.name);
    const bare = withoutMaskEnding(own);
    if (bare !== own && byStem.has(bare)) masks.push(file);
    const others = byStem.get(own).filter((other) => other !== file);
    if (!others.length || !(await looksLikeMask(file))) continue;
    const alike = await Promise.all(others.map(looksLikeMask));
    if (!alike.every(Boolean)) masks.push(file);
  }
  return new Set(masks);
}

// [{stem, image, mask}] in alphabetical order; a partner that is missing is null
export function pair(images, masks) {
  const rows = new Map();
  for (const image of images) {
    const own = stem(image.name);
    rows.set(rows.has(own) ? image.name.toLowerCase() : own, { stem: own, image, mask: null });
  }
  for (const mask of masks) {
    const own = stem(mask.name);
    const key = rows.has(own) ? own : withoutMaskEnding(own);
    if (rows.has(key) && !rows.get(key).mask) rows.get(key).mask = mask;
    else rows.set(`${own} `, { stem: own, image: null, mask });
  }
  return [...rows.values()].sort((a, b) => a.stem.localeCompare(b.stem));
}

// What a drop holds, folders opened: [{file, path}]
export async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry && item.webkitGetAsEntry()).filter(Boolean);
  if (!entries.length) return [...transfer.files].map((file) => ({ file, path: file.name }));
  const found = [];
  const walk = async (entry) => {
    if (entry.isFile) {
      found.push({ file: await new Promise((yes, no) => entry.file(yes, no)), path: entry.fullPath });
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const part = await new Promise((yes, no) => reader.readEntries(yes, no));
      if (!part.length) return;
      for (const inner of part) await walk(inner);
    }
  };
  for (const entry of entries) await walk(entry);
  return found;
}
