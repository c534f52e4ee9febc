// The steps of undo and redo in the browser's own database, so that they survive a reload. Bounded: one record for an
// image, the latest images only. Without a database (private windows of some browsers) nothing is kept, and nothing fails.
export const DATABASE = "segapp-paint";
const STORE = "steps";
const MOST_IMAGES = 60;
const MOST_BYTES = 4e6; // of one image; the oldest steps are left out
const SOON = 500; // milliseconds after a change

const answered = (request) => new Promise((yes, no) => {
  request.onsuccess = () => yes(request.result);
  request.onerror = () => no(request.error);
});

async function opened() {
  const request = window.indexedDB.open(DATABASE, 1);
  request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "id" }).createIndex("saved", "saved");
  return answered(request);
}

function latest(steps) {
  let bytes = 0;
  const from = steps.findLastIndex((step) => (bytes += step.runs.byteLength) > MOST_BYTES);
  return steps.slice(from + 1);
}

async function forgetOldest(store) {
  const spare = (await answered(store.count())) - MOST_IMAGES;
  if (spare <= 0) return;
  for (const key of await answered(store.index("saved").getAllKeys(null, spare))) store.delete(key);
}

// id: of the image; history: as createHistory makes it
export function createSteps(id, history) {
  let timer = 0;
  const database = Promise.resolve().then(opened).catch(() => null);

  async function write() {
    window.clearTimeout(timer);
    timer = 0;
    const base = await database;
    if (!base) return;
    try {
      const store = base.transaction(STORE, "readwrite").objectStore(STORE);
      store.put({ id, saved: Date.now(), steps: latest(history.steps()) });
      await forgetOldest(store);
    } catch { /* a full disk: this visit goes on as before */ }
  }

  return {
    // Brings back what was kept of the image, as far as it leads to the mask as it is now.
    restore: async () => {
      const base = await database;
      if (!base) return;
      try {
        const record = await answered(base.transaction(STORE).objectStore(STORE).get(id));
        if (record) history.restore(record.steps);
      } catch { /* a record that cannot be read is none */ }
    },
    later: () => { if (!timer) timer = window.setTimeout(write, SOON); },
    now: () => (timer ? write() : Promise.resolve()),
  };
}
