// The stream of revisions, and whether it is alive: a page that has lost its server says since when.

const SILENT_SECONDS = 12; // the server says something every 5
const FIRST_WAIT = 1000;
const LONGEST_WAIT = 15000;

export function follow({ changed, trouble, lost, found }) {
  let source = null;
  let heard = Date.now();
  let isLost = false;
  let wait = FIRST_WAIT;
  let retry = 0;

  function alive() {
    heard = Date.now();
    wait = FIRST_WAIT;
    if (isLost) { isLost = false; found(); }
  }

  function gone() {
    if (!isLost) { isLost = true; lost(heard / 1000); }
  }

  function open() {
    clearTimeout(retry);
    source?.close();
    source = new EventSource("/api/events");
    source.onopen = () => { alive(); changed(null); };
    source.addEventListener("change", (event) => { alive(); trouble(""); changed(JSON.parse(event.data)); });
    source.addEventListener("trouble", (event) => { alive(); trouble(JSON.parse(event.data).message); });
    source.addEventListener("beat", alive);
    source.onerror = () => {
      gone();
      source.close();
      retry = setTimeout(open, wait);
      wait = Math.min(2 * wait, LONGEST_WAIT);
    };
  }

  // A page nobody sees holds no stream: browsers allow a server six connections, however many tabs there are.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { clearTimeout(retry); source?.close(); } else { heard = Date.now(); open(); }
  });
  setInterval(() => { if (!document.hidden && Date.now() - heard > 1000 * SILENT_SECONDS) gone(); }, 1000);
  open();
}
