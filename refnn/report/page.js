"use strict";
(() => {
  const form = document.getElementById("filters");
  const all = (selector) => [...document.querySelectorAll(selector)];
  const rows = all(".matrix tbody tr"), pages = all(".page"), findings = all("details.finding");
  const said = document.getElementById("shown");

  function show() {
    const { op, state, dtype, verdict } = Object.fromEntries(new FormData(form));
    const named = (e) => e.dataset.op.toLowerCase().includes(op.trim().toLowerCase());
    const states = {};
    for (const row of rows) {
      states[row.dataset.op] = row.dataset.state;
      const cells = [...row.querySelectorAll("td")].filter((c) => !dtype || c.dataset.dtype === dtype);
      const met = cells.some((c) => (verdict ? (c.dataset.verdicts || "").split(" ").includes(verdict) : "verdicts" in c.dataset));
      row.hidden = !(named(row) && (!state || row.dataset.state === state) && met);
    }
    for (const cell of all(".matrix [data-dtype]")) cell.hidden = dtype !== "" && cell.dataset.dtype !== dtype;
    const kept = new Set(rows.filter((r) => !r.hidden).map((r) => r.dataset.op));
    for (const page of pages) page.hidden = page.dataset.op in states && !kept.has(page.dataset.op);
    for (const f of findings) {
      const { dtype: d, verdict: v } = f.dataset;
      const group = f.closest("#findings") ? "unexpected" : "expected";
      f.hidden = !(named(f) && (!state || state === group) && (!dtype || d === dtype) && (!verdict || v === verdict));
    }
    for (const rest of all("details.rest")) rest.open = [op, state, dtype, verdict].some(Boolean);
    const shown = findings.filter((f) => !f.hidden).length;
    said.textContent = `${kept.size} of ${rows.length} ops, ${shown} of ${findings.length} findings of this page shown`;
  }

  // What an address names is shown, whatever the filters say.
  function follow() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    if (target.hidden) form.reset();
    for (let e = target; e; e = e.parentElement) if (e.tagName === "DETAILS") e.open = true;
    if (target.classList.contains("page")) target.focus({ preventScroll: true });
    target.scrollIntoView();
  }

  form.hidden = false;
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(show));
  addEventListener("hashchange", follow);
  show();
  follow();

  for (const button of all(".copy")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const text = button.previousElementSibling;
      try {
        await navigator.clipboard.writeText(text.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(text); // where a file may not write to the clipboard, the keyboard does it
        button.textContent = "Selected";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  }
})();
