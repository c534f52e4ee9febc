// The server's table of file kinds, names and limits (segapp/imaging/formats.py), as the page carries it.
export const formats = JSON.parse(document.getElementById("formats").textContent);

const ends = (name, suffixes) => suffixes.some((suffix) => name.toLowerCase().endsWith(suffix));

export const isImage = (name) => ends(name, formats.image_suffixes);
export const isMaskFile = (name) => ends(name, formats.mask_suffixes);
export const isAnnotation = (name) => ends(name, formats.annotation_suffixes);
export const isArchive = (name) => ends(name, formats.archive_suffixes);

// "leaf_mask" -> "leaf"; a stem without such an ending stays as it is. Stems are in lower case.
export function withoutMaskEnding(stem) {
  const ending = formats.mask_endings.find((one) => stem.endsWith(one));
  return ending ? stem.slice(0, -ending.length) : stem;
}

// What one part of a path says of the files in it: "mask", "image" or "".
export function kindOfFolder(name) {
  const words = [name.toLowerCase(), ...name.toLowerCase().split(/[_\-. ]/)];
  if (words.some((word) => formats.mask_folders.includes(word))) return "mask";
  return words.some((word) => formats.image_folders.includes(word)) ? "image" : "";
}
