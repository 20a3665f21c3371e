// Signing in with the token, and what it opens.

import { byId, text } from "./format.js";

async function send(method, path, given) {
  const answer = await fetch(path, { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(given ?? {}) });
  const told = await answer.json().catch(() => ({ error: `the server answered ${answer.status}` }));
  if (!answer.ok) throw new Error(told.error ?? `the server answered ${answer.status}`);
  return told;
}

export function session(changed) {
  const rights = { token_set: false, signed_in: false, needed_to_look: false };
  let device = "";

  for (const button of document.querySelectorAll("dialog [data-close]")) button.addEventListener("click", () => button.closest("dialog").close());

  async function look() {
    Object.assign(rights, await (await fetch("/api/session")).json());
    byId("sign").hidden = !rights.token_set;
    text("sign", rights.signed_in ? "Sign out" : "Sign in");
    text("rights", rights.signed_in ? "signed in" : rights.token_set ? "read-only until you sign in" : "read-only: no token is set");
    return rights;
  }

  function ask() {
    text("token-wrong", "");
    byId("token").value = "";
    if (!byId("signing").open) byId("signing").showModal();
  }

  byId("sign").addEventListener("click", async () => {
    if (!rights.signed_in) { ask(); return; }
    await send("DELETE", "/api/session");
    await look();
    changed();
  });
  byId("signing").querySelector("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await send("POST", "/api/session", { token: byId("token").value });
      byId("token").value = "";
      byId("signing").close();
      await look();
      changed();
    } catch (error) { text("token-wrong", error.message); }
  });
  byId("confirm").addEventListener("input", () => { byId("revoke-go").disabled = byId("confirm").value !== device; });
  byId("revoking").querySelector("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (byId("confirm").value !== device) return;
    try {
      const told = await send("POST", "/api/devices/revoke", { device, confirm: byId("confirm").value });
      byId("revoking").close();
      changed(told.note ? `${device} is revoked. ${told.note}` : `${device} is revoked.`);
    } catch (error) { text("revoke-wrong", error.message); }
  });

  return {
    rights, look, ask,
    revoke(name) {
      device = name;
      text("revoking-name", name);
      text("revoke-wrong", "");
      byId("confirm").value = "";
      byId("revoke-go").disabled = true;
      byId("revoking").showModal();
    },
    setJob: (number, wanted) => send("POST", `/api/jobs/${number}/${wanted}`),
  };
}
