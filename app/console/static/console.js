// The console's own script: charts, notices, uploads. Everything else is htmx.
"use strict";

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const charts = new Map(); // element -> uPlot
const WHOLE = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].flatMap((n) => [1, 2, 5].map((m) => m * 10 ** n)); // steps of whole numbers

// spec: {kind: "line" | "bars" | "points", x: [...], series: [{label, values}], xLabel}
function draw(element, fresh) {
  const spec = JSON.parse(element.dataset.chart);
  const data = [spec.x, ...spec.series.map((one) => one.values)];
  const shape = JSON.stringify([spec.kind, spec.series.map((one) => one.label), spec.x.length < 60]);
  if (!fresh && typeof spec.x[0] === "number" && takeOver(element, shape, data)) return;
  const labels = spec.x.some((value) => typeof value === "string");
  const x = labels ? spec.x.map((_, n) => n) : spec.x;
  const bars = spec.kind === "bars" ? uPlot.paths.bars({ size: [0.8, 60] }) : undefined;
  const axis = { stroke: css("--muted"), grid: { stroke: css("--grid"), width: 1 }, ticks: { show: false } };
  const named = (_, splits) => splits.map((n) => (Number.isInteger(n) ? spec.x[n] ?? "" : ""));
  const series = spec.series.map((one, n) => ({
    label: one.label,
    stroke: css(`--chart-${(n % 4) + 1}`),
    width: 2,
    fill: bars ? css(`--chart-${(n % 4) + 1}`) : undefined,
    paths: spec.kind === "points" ? () => null : bars,
    points: { show: spec.kind !== "bars" && x.length < 60 },
    spanGaps: true,
  }));
  const options = {
    width: element.clientWidth,
    height: 220,
    scales: { x: { time: false, ...(bars && { range: (_, least, most) => [least - 0.6, most + 0.6] }) } },
    axes: [
      { ...axis, size: 32, values: labels ? named : undefined, space: labels ? 80 : 50, incrs: x.every(Number.isInteger) ? WHOLE : undefined },
      { ...axis, size: 60 },
    ],
    series: [{ label: spec.xLabel || "x", value: labels ? (_, n) => spec.x[n] ?? "" : undefined }, ...series],
    legend: { live: true },
  };
  charts.get(element)?.destroy();
  const chart = new uPlot(options, [x, ...data.slice(1)], element);
  chart.shape = shape;
  charts.set(element, chart);
}

// A chart that was swapped for one with the same id keeps its canvas and gets the new numbers: no flicker.
function takeOver(element, shape, data) {
  const id = element.closest("figure")?.id;
  for (const [old, chart] of charts) {
    if (old.isConnected || old.closest("figure")?.id !== id || chart.shape !== shape) continue;
    charts.delete(old);
    element.append(chart.root);
    if (chart.width !== element.clientWidth) chart.setSize({ width: element.clientWidth, height: chart.height });
    chart.setData(data);
    charts.set(element, chart);
    return true;
  }
  return false;
}

function drawAll(root, fresh = false) {
  for (const element of root.querySelectorAll("[data-chart]")) if (fresh || !charts.has(element)) draw(element, fresh);
  for (const [element, chart] of charts) {
    if (element.isConnected) continue;
    chart.destroy();
    charts.delete(element);
  }
}

// What was opened stays open when its part of the page is swapped.
let opened = [];
function remember(event) {
  opened = [...event.detail.target.querySelectorAll("details[id][open]")].map((element) => element.id);
}

function afterSwap(event) {
  for (const id of opened.splice(0)) document.getElementById(id)?.setAttribute("open", "");
  drawAll(event.target.parentElement ?? document);
}

document.addEventListener("DOMContentLoaded", () => {
  drawAll(document);
  document.body.addEventListener("htmx:beforeSwap", remember);
  document.body.addEventListener("htmx:afterSwap", afterSwap);
  document.body.addEventListener("htmx:afterSettle", afterSwap);
  document.body.addEventListener("htmx:sendError", () => notice("The server cannot be reached. Try again shortly."));
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll(document, true));
addEventListener("resize", () => {
  for (const [element, chart] of charts) chart.setSize({ width: element.clientWidth, height: chart.height });
});

function notice(text) {
  const element = document.createElement("div");
  element.className = "notice failed";
  element.textContent = text;
  document.getElementById("notices").append(element);
  setTimeout(() => element.remove(), 10_000);
}

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-dismiss]")) event.target.closest("[data-notice]").remove();
});

// What is done goes away by itself; what failed stays until it is dismissed, and is said once.
new MutationObserver((changes) => {
  for (const change of changes)
    for (const node of change.addedNodes)
      if (node.classList?.contains("notice") && node.parentElement?.id === "notices") {
        for (const other of [...node.parentElement.children])
          if (other !== node && other.textContent === node.textContent) other.remove();
        if (node.classList.contains("done")) setTimeout(() => node.remove(), 6000);
      }
}).observe(document.documentElement, { childList: true, subtree: true });

// Dialogs. [data-opens=ID] opens one, [data-close] inside closes it. One that htmx fills is open while there is something
// in it; dialog[data-modal] opens as it comes and goes when it is closed; dialog[data-act] closes when its act is done,
// for notices lie below it.
function shut(dialog) {
  if (dialog?.matches("[data-modal]")) dialog.remove();
  else dialog?.close();
}
document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-opens]");
  if (opener) document.getElementById(opener.dataset.opens).showModal();
  if (event.target.closest("[data-close]")) shut(event.target.closest("dialog"));
});
document.addEventListener("htmx:afterSwap", (event) => {
  for (const dialog of document.querySelectorAll("dialog[data-modal]:not([open])")) dialog.showModal();
  const filled = event.detail.target;
  if (!filled?.matches("dialog:not([data-modal])")) return;
  if (!filled.childElementCount) filled.close();
  else if (!filled.open) filled.showModal();
});
document.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.requestConfig.verb !== "get") shut(event.detail.elt.closest("dialog[data-act]"));
});

// data:

// <form data-upload=address data-target data-done=event>: its file is sent as it is, with a bar; the answer,
// good or bad, is put into the target.
function upload(form) {
  const file = form.elements.file.files[0];
  const part = form.querySelector("[data-progress]"), bar = part.querySelector("progress");
  const say = (text) => (part.querySelector("[role=status]").textContent = text);
  const target = document.querySelector(form.dataset.target);
  const query = new URLSearchParams();
  for (const [name, value] of new FormData(form)) if (typeof value === "string") query.set(name, value);
  if (/\.t?gz$/i.test(file.name)) query.set("gzip", "true");
  const request = new XMLHttpRequest();
  request.open(form.dataset.method ?? "POST", `${form.dataset.upload}?${query}`);
  const headers = JSON.parse(document.body.getAttribute("hx-headers"));
  for (const [name, value] of Object.entries({ ...headers, "HX-Request": "true" })) request.setRequestHeader(name, value);
  const mib = (file.size / 2 ** 20).toFixed(1);
  request.upload.onprogress = (event) => {
    bar.value = event.total ? event.loaded / event.total : 0;
    say(bar.value < 1 ? `${Math.floor(100 * bar.value)} % of ${mib} MiB` : "Sent. It is being checked…");
  };
  request.onload = () => {
    if (request.getResponseHeader("HX-Redirect")) location.assign(request.getResponseHeader("HX-Redirect"));
    target.innerHTML = request.responseText;
    htmx.process(target);
    if (form.dataset.done) htmx.trigger(document.body, form.dataset.done);
  };
  request.onerror = () => notice("The upload broke off. The file may be larger than the server takes, or it cannot be reached.");
  request.onabort = () => notice("The upload was cancelled; nothing was stored.");
  request.onloadend = () => {
    part.hidden = true;
    form.removeAttribute("aria-busy");
    form.querySelector("[type=submit]").disabled = false;
  };
  target.textContent = "";
  bar.value = 0;
  say("Sending…");
  part.hidden = false;
  form.querySelector("[type=submit]").disabled = true;
  part.querySelector("[data-cancel]").onclick = () => request.abort();
  request.send(file);
}

// What a file is called says its format, and an archive what is in it.
function guess(form) {
  const name = (form.elements.file.files[0]?.name ?? "").toLowerCase().replace(/\.gz$/, "").replace(/\.tgz$/, ".tar");
  const format = { csv: "csv", jsonl: "jsonl", ndjson: "jsonl", parquet: "parquet", zip: "zip", tar: "tar" }[name.split(".").pop()];
  if (!format || !form.elements.format) return;
  const fits = [...form.elements.kind].filter((kind) => kind.dataset.formats.includes(format));
  if (fits.length && !fits.some((kind) => kind.checked)) fits[0].checked = true;
  if (fits.length > 1 && /interaction|event|rating|click/.test(name)) fits[1].checked = true;
  offer(form);
  form.elements.format.value = format;
}

function offer(form) {
  const kind = [...form.elements.kind].find((one) => one.checked), select = form.elements.format;
  for (const option of select.options) option.hidden = option.disabled = !kind.dataset.formats.includes(option.value);
  if (select.selectedOptions[0]?.disabled ?? true) select.value = [...select.options].find((option) => !option.disabled).value;
  for (const hint of form.querySelectorAll("[data-for]")) hint.hidden = hint.dataset.for !== kind.value;
}

document.addEventListener("submit", (event) => {
  if (!event.target.matches("[data-upload]")) return;
  event.preventDefault();
  upload(event.target);
});
document.addEventListener("change", (event) => {
  const form = event.target.closest("[data-upload]");
  if (form && event.target.name === "file") guess(form);
  if (form && event.target.name === "kind") offer(form);
});
document.addEventListener("DOMContentLoaded", () => {
  for (const form of document.querySelectorAll("[data-upload]")) if (form.elements.kind) offer(form);
});
for (const name of ["dragenter", "dragover", "dragleave", "drop"])
  document.addEventListener(name, (event) => {
    const place = event.target.closest?.("[data-drop]");
    if (!place) return;
    event.preventDefault();
    place.classList.toggle("over", name === "dragenter" || name === "dragover");
    if (name !== "drop" || !event.dataTransfer.files.length) return;
    const input = place.querySelector("input[type=file]");
    input.files = event.dataTransfer.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  });


// item map:

// Draws the rows of the table beside it. A group has a mark and a colour, both from its button.
function itemMap(section) {
  const canvas = section.querySelector("canvas"), pen = canvas.getContext("2d"), tip = section.querySelector("[data-map-tip]");
  const points = [...section.querySelectorAll("tbody tr")].map((row) => {
    const [id, title, group, met, x, y] = [...row.cells].map((cell) => cell.textContent);
    return { id, title, group, met, x: +x, y: +y, n: +row.dataset.group };
  });
  const groups = [...section.querySelectorAll("[data-map-group]")];
  const bounds = (of) => [Math.min(...points.map(of)), Math.max(...points.map(of))];
  const [left, right] = bounds((p) => p.x), [low, high] = bounds((p) => p.y);
  let view = { zoom: 1, x: 0, y: 0 }, wanted = "", chosen = null, shown = [];

  const place = (p) => {
    const [w, h, edge] = [canvas.clientWidth, canvas.clientHeight, 24];
    const scale = Math.min((w - 2 * edge) / (right - left || 1), (h - 2 * edge) / (high - low || 1)) * view.zoom;
    return [w / 2 + (p.x - (left + right) / 2) * scale + view.x, h / 2 - (p.y - (low + high) / 2) * scale + view.y];
  };
  const found = (p) => wanted && `${p.id}\n${p.title}`.toLowerCase().includes(wanted);

  function paint() {
    const ratio = devicePixelRatio || 1;
    canvas.width = canvas.clientWidth * ratio;
    canvas.height = canvas.clientHeight * ratio;
    pen.scale(ratio, ratio);
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    const size = points.length > 300 ? 10 : 15, colours = groups.map((button) => getComputedStyle(button).color);
    shown = points.filter((p) => groups[p.n].getAttribute("aria-pressed") === "true");
    for (const p of [...shown.filter((one) => !found(one)), ...shown.filter(found)]) {
      const [x, y] = place(p);
      pen.globalAlpha = wanted && !found(p) ? 0.15 : 0.85;
      pen.font = found(p) ? `bold ${size + 6}px sans-serif` : `${size}px sans-serif`;
      pen.fillStyle = colours[p.n];
      pen.fillText(groups[p.n].dataset.mark, x, y);
    }
    pen.globalAlpha = 1;
    if (chosen && shown.includes(chosen)) {
      const [x, y] = place(chosen);
      pen.strokeStyle = css("--pico-color");
      pen.lineWidth = 2;
      pen.beginPath();
      pen.arc(x, y, 10, 0, 2 * Math.PI);
      pen.stroke();
    }
  }

  function choose(p, aloud) {
    chosen = p;
    tip.hidden = !p;
    paint();
    if (!p) return;
    const [x, y] = place(p);
    tip.replaceChildren();
    if (section.dataset.images) {
      const image = new Image();
      image.alt = "";
      image.src = `${section.dataset.images}${encodeURIComponent(p.id)}/image`;
      tip.append(image);
    }
    for (const [name, text] of [["strong", p.title], ["code", p.id], ["small", `${p.group} · ${p.met} interactions`]]) {
      const line = document.createElement(name);
      line.textContent = text;
      tip.append(line);
    }
    // Set by script, which the content-security policy allows, beside the point and inside the plane.
    tip.style.left = `${Math.max(0, Math.min(x + 14, canvas.clientWidth - tip.offsetWidth))}px`;
    tip.style.top = `${Math.max(0, y + 14 + tip.offsetHeight > canvas.clientHeight ? y - 14 - tip.offsetHeight : y + 14)}px`;
    if (aloud) section.querySelector("[data-map-said]").textContent = `${p.title}, ${p.id}, ${p.group}`;
  }

  const nearest = (at, within) => {
    let best = null, least = within ** 2;
    for (const p of shown) {
      const [x, y] = place(p), distance = (x - at[0]) ** 2 + (y - at[1]) ** 2;
      if (distance < least) [best, least] = [p, distance];
    }
    return best;
  };
  // The next one in the direction of an arrow: little aside, little far.
  function beside(from, [dx, dy]) {
    const [x0, y0] = place(from);
    let best = from, least = Infinity;
    for (const p of shown) {
      const [x, y] = place(p), ahead = (x - x0) * dx + (y - y0) * dy, aside = Math.abs((x - x0) * dy) + Math.abs((y - y0) * dx);
      if (ahead > 0.5 && ahead + 2 * aside < least) [best, least] = [p, ahead + 2 * aside];
    }
    return best;
  }

  let drag = null;
  canvas.addEventListener("pointerdown", (event) => (drag = [event.clientX - view.x, event.clientY - view.y]));
  addEventListener("pointerup", () => (drag = null));
  canvas.addEventListener("pointermove", (event) => {
    if (!drag || !event.buttons) return choose(nearest([event.offsetX, event.offsetY], 14));
    view = { ...view, x: event.clientX - drag[0], y: event.clientY - drag[1] };
    choose(null);
  });
  canvas.addEventListener("pointerleave", () => choose(null));
  canvas.addEventListener("dblclick", () => choose((view = { zoom: 1, x: 0, y: 0 }) && null));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const zoom = Math.min(40, Math.max(1, view.zoom * 1.2 ** -Math.sign(event.deltaY))), by = zoom / view.zoom;
    const [x, y] = [event.offsetX - canvas.clientWidth / 2, event.offsetY - canvas.clientHeight / 2];
    view = zoom === 1 ? { zoom, x: 0, y: 0 } : { zoom, x: x - (x - view.x) * by, y: y - (y - view.y) * by };
    choose(null);
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === "Escape") choose(null);
    if (!way || !shown.length) return;
    event.preventDefault();
    choose(chosen ? beside(chosen, way) : nearest([canvas.clientWidth / 2, canvas.clientHeight / 2], Infinity), true);
  });
  canvas.addEventListener("blur", () => choose(null));
  section.querySelector("[data-map-search]").addEventListener("input", (event) => {
    wanted = event.target.value.trim().toLowerCase();
    const hits = points.filter(found);
    section.querySelector("[data-map-found]").textContent = wanted ? `${hits.length} found on the map` : "";
    choose(hits.length === 1 ? hits[0] : null, true);
  });
  for (const button of groups)
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") !== "true");
      choose(null);
    });
  new ResizeObserver(() => choose(chosen)).observe(canvas.parentElement);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => setTimeout(paint, 400)); // colours change slowly
}

document.addEventListener("DOMContentLoaded", () => document.querySelectorAll("[data-map]").forEach(itemMap));

// training:

// releases:
document.addEventListener("input", (event) => {
  const shown = event.target.dataset?.shows && document.getElementById(event.target.dataset.shows);
  if (shown) shown.value = `${event.target.value} %`;
});
document.addEventListener("submit", async (event) => {
  const form = event.target.closest("form[data-adapter]");
  if (!form) return;
  event.preventDefault();
  const [file, button] = [form.elements.file.files[0], form.querySelector("[type=submit]")];
  if (!file) return notice("Choose a file first.");
  button.setAttribute("aria-busy", "true");
  try {
    const headers = { ...JSON.parse(document.body.getAttribute("hx-headers")), "HX-Request": "true" };
    const answer = await fetch(form.action, { method: "POST", body: file, headers });
    const text = await answer.text();
    if (answer.headers.has("HX-Redirect")) location.reload();
    else if (answer.ok) htmx.swap("#releases", text, { swapStyle: "outerHTML" });
    else document.getElementById("notices").insertAdjacentHTML("beforeend", text);
  } catch {
    notice("The file could not be sent. Look whether the server can be reached, and try again.");
  }
  button.removeAttribute("aria-busy");
});

// playground:

// A list of suggestions under an input: arrows walk through it, Enter takes the first, Escape closes it.
document.addEventListener("keydown", (event) => {
  const place = event.target.closest?.(".suggests");
  if (!place) return;
  const choices = [...place.querySelectorAll(".choice")], at = choices.indexOf(event.target);
  const to = { ArrowDown: choices[at + 1], ArrowUp: at > 0 ? choices[at - 1] : place.querySelector("input") }[event.key];
  if (to) to.focus();
  // Not of a list that is older than what was typed.
  const first = at < 0 && event.target.value && choices.find((one) => one.dataset.for === event.target.value);
  if (event.key === "Enter" && first) first.click();
  else if (event.key === "Escape") place.querySelector(".found").replaceChildren();
  else if (!to) return;
  event.preventDefault();
});

// The button that was pressed may be gone afterwards: data-then names what gets the focus.
let then = "";
document.addEventListener("submit", (event) => (then = event.submitter?.dataset.then ?? ""), true);
document.addEventListener("htmx:afterSwap", () => {
  const named = then && document.getElementById(then);
  const next = named && (named.disabled ? named.parentElement.querySelector("button:enabled") : named);
  if (next) next.focus({ preventScroll: then !== "similar" });
  then = "";
});

// tenants, settings, audit, system:
document.addEventListener("click", (event) => {
  const copier = event.target.closest("[data-copy]");
  if (copier) copy(copier, document.getElementById(copier.dataset.copy));
});

async function copy(button, source) {
  try {
    await navigator.clipboard.writeText(source.textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(source); // no clipboard without HTTPS
    button.textContent = "Selected: copy it by hand";
  }
}
