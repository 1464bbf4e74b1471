"use strict";
// Holds no data: it shows and hides rows of the page by the marks that each row carries.
(() => {
  const root = document.documentElement;
  const theme = document.getElementById("theme");
  const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const name = () => { theme.textContent = dark() ? "Light" : "Dark"; theme.setAttribute("aria-label", dark() ? "Use light colours" : "Use dark colours"); };
  theme.hidden = false;
  theme.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; name(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", name);
  name();

  const box = document.getElementById("filters");
  if (!box) return;
  const PAGE = 20;
  const rows = [...document.querySelectorAll("#row-list > article")];
  const marks = rows.map((row) => new Set(row.dataset.marks.split(" ")));
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const selects = [...box.querySelectorAll("select")];
  const search = document.getElementById("search");
  const found = document.getElementById("found");
  const more = document.getElementById("more");
  let limit = PAGE;

  const show = () => {
    const needs = selects.flatMap((select) => select.value.split(" ").filter(Boolean));
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = rows.map((_, i) => needs.every((need) => marks[i].has(need)) && words.every((word) => texts[i].includes(word)));
    let shown = 0, total = 0;
    rows.forEach((row, i) => {
      if (fits[i]) total += 1;
      row.hidden = !fits[i] || shown >= limit;
      if (!row.hidden) shown += 1;
    });
    more.hidden = shown === total;
    more.textContent = `Show ${Math.min(PAGE, total - shown)} more`;
    const of = `${rows.length} ${found.dataset.of}`;
    found.textContent = total === 0 ? "No row fits." : total < rows.length ? `${shown} of ${total} rows that fit, of ${of}.` : shown < total ? `${shown} of all ${of}.` : `All ${of}.`;
    return shown;
  };
  const again = () => { limit = PAGE; show(); };
  box.hidden = false;
  box.addEventListener("change", again);
  search.addEventListener("input", again);
  document.getElementById("reset").addEventListener("click", () => {
    for (const select of selects) select.selectedIndex = 0;
    search.value = "";
    again();
  });
  more.addEventListener("click", () => {
    const before = rows.filter((row) => !row.hidden).length;
    limit += PAGE;
    show();
    rows.filter((row) => !row.hidden)[before].focus();
  });
  show();
})();
