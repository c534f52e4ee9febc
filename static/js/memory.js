// The browser's memory of the visitor's model: which one is active, and a signed token that gives the visitor back.
// The server's word is final where it knows the visitor; where the cookie is new, the token asks for the old visitor.
import { DATABASE } from "./paint/steps.js";

const ID = "finetuned_model_id";
const TOKEN = "finetuned_model_token";

function store() {
  try { return window.localStorage; } catch { return null; }
}

function word() {
  const element = document.getElementById("status");
  return element && {
    known: element.dataset.visitorKnown === "1",
    id: element.dataset.modelId,
    token: element.dataset.restoreToken,
  };
}

function follow(memory, server) {
  if (server.id) memory.setItem(ID, server.id); else memory.removeItem(ID);
  if (server.token) memory.setItem(TOKEN, server.token);
}

// The visitor has deleted everything: there is no visitor to restore.
function forget(memory) {
  memory.removeItem(ID);
  memory.removeItem(TOKEN);
  // Undo steps hold what was painted. Where they cannot be deleted (no database in a private window) there are none.
  try { window.indexedDB.deleteDatabase(DATABASE); } catch { /* none */ }
}

async function restore(memory) {
  const body = new URLSearchParams({ user_id: memory.getItem(ID), token: memory.getItem(TOKEN) });
  const headers = JSON.parse(document.body.getAttribute("hx-headers"));
  let answer;
  try {
    answer = await fetch("/api/load-user-model", { method: "POST", body, headers, credentials: "same-origin" });
  } catch {
    return; // out of reach: the memory stays for the next page
  }
  if (answer.status === 404) {
    memory.removeItem(ID);
    const code = await answer.json().then((said) => said.error && said.error.code, () => "");
    if (code === "invalid_token") memory.removeItem(TOKEN);
  } else if (!answer.ok) {
    return;
  }
  // What the page shows was made for a visitor who owns nothing: show the restored one's.
  if (document.querySelector("[data-visitors-own]")) window.location.reload();
  else htmx.trigger(document.body, "model-changed");
}

function look(fresh) {
  const memory = store();
  const server = word();
  if (!memory || !server) return;
  if (document.querySelector("[data-forget-everything]")) forget(memory);
  else if (server.known) follow(memory, server);
  else if (fresh && memory.getItem(ID) && memory.getItem(TOKEN)) restore(memory);
}

look(true);
document.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target && event.detail.target.id === "status") look(false);
});
document.addEventListener("htmx:oobAfterSwap", () => look(false));
