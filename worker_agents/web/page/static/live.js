"use strict";
// Puts the sections that the server pushes in place. Open details and the focus stay where they were; a section in
// which somebody types is left alone until they are done.
(() => {
  const says = document.getElementById("connection");
  const source = new EventSource(document.body.dataset.live);

  source.addEventListener("open", () => { says.textContent = "live"; });
  source.addEventListener("error", () => { says.textContent = "not connected: what you see may be old"; });
  source.addEventListener("sections", (event) => {
    for (const [id, html] of Object.entries(JSON.parse(event.data))) {
      const section = document.getElementById(id);
      if (section && !isTypedIn(section)) replace(section, html);
    }
  });

  function isTypedIn(section) {
    const active = document.activeElement;
    return section.contains(active) && ["INPUT", "TEXTAREA", "SELECT"].includes(active.tagName);
  }

  function replace(section, html) {
    const open = [...section.querySelectorAll("details[open][id]")].map((details) => details.id);
    const scrolled = [...section.querySelectorAll(".scroll")].map((box) => [box.scrollLeft, box.scrollTop]);
    const focused = section.contains(document.activeElement) ? pathOf(section, document.activeElement) : null;
    section.innerHTML = html;
    for (const id of open) {
      const details = document.getElementById(id);
      if (details) details.open = true;
    }
    section.querySelectorAll(".scroll").forEach((box, place) => {
      if (scrolled[place]) [box.scrollLeft, box.scrollTop] = scrolled[place];
    });
    if (focused) elementAt(section, focused)?.focus({ preventScroll: true });
  }

  // The focused element by its name where it has one, else by the way to it: rows have links, not ids.
  function pathOf(section, element) {
    if (element.id) return { id: element.id };
    const focusable = [...section.querySelectorAll("a, button, summary, [tabindex]")];
    return { href: element.getAttribute("href"), place: focusable.indexOf(element) };
  }

  function elementAt(section, path) {
    if (path.id) return document.getElementById(path.id);
    const focusable = [...section.querySelectorAll("a, button, summary, [tabindex]")];
    return focusable.find((element) => path.href && element.getAttribute("href") === path.href) || focusable[path.place];
  }
})();
