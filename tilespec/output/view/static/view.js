/* The page of `tilespec view`. All text of stores is set as text, never as HTML. */
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const COLOURS = ["#e69f00", "#56b4e9", "#009e73", "#cc79a7", "#d55e00", "#0072b2", "#b8a800", "#8c6bb1", "#7f7f7f", "#a6761d"];
  const RAMPS = {
    index: ["#a50026", "#f46d43", "#fee08b", "#d9ef8b", "#66bd63", "#006837"],
    band: ["#000000", "#ffffff"],
    values: ["#440154", "#3b528b", "#21918c", "#5ec962", "#fde725"],
  };
  const NAMES = { natural: ["Red", "Green", "Blue"], rgb: ["Red", "Green", "Blue"], srgb: [], index: ["Plus", "Minus"], band: ["Band"] };
  const panes = [];
  const taken = [];
  let about = null;
  let width = 1;
  let active = 0;
  let chart = null;
  let serial = 0;
  let drawing = null;
  let moving = false;
  const labels = { classes: [], shapes: [], current: 0, saved: true };

  /* --- asking the server --------------------------------------------------------------------------------------- */

  async function ask(path) {
    let answer;
    try {
      answer = await fetch(path);
    } catch {
      throw new Error("The server has ended; start `tilespec view` again.");
    }
    const data = answer.headers.get("content-type")?.includes("json") ? await answer.json() : {};
    if (!answer.ok) throw new Error(data.error || "The server refuses: open the address that `tilespec view` printed.");
    return data;
  }

  function say(text, bad = false) {
    $("state").textContent = text;
    $("state").classList.toggle("bad", bad);
  }

  function element(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) {
      if (key in node) node[key] = value;
      else node.setAttribute(key, value);
    }
    node.append(...children);
    return node;
  }

  function drawn(tag, attributes) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  }

  /* --- stores and their tiles ---------------------------------------------------------------------------------- */

  const usable = () => about.stores.filter((store) => !store.error);
  const store = (index) => about.stores[index];
  const layerOf = (state) => store(state.store).layers.find((layer) => layer.name === state.name);

  function pictureQuery(pane) {
    const look = pane.look;
    return `mode=${look.mode}&bands=${look.bands.join(",")}&stretch=${look.low},${look.high}&gamma=${look.gamma}`;
  }

  function tiles(index, name, query) {
    const one = store(index);
    const [x, y, size] = one.place;
    return {
      x: x / width,
      y: y / width,
      width: (one.size[0] * size) / width,
      tileSource: {
        width: one.size[0],
        height: one.size[1],
        tileSize: about.edge,
        minLevel: 0,
        maxLevel: one.levels,
        getTileUrl: (z, column, row) =>
          `tile/${index}/${encodeURIComponent(name)}/${z}/${column}/${row}.png?${query}&v=${encodeURIComponent(one.stamp)}`,
      },
    };
  }

  /* Shows tiles in the place of an older picture, which stays until the new one is there. */
  function show(pane, slot, options) {
    const before = pane.items.get(slot);
    const mine = { item: null, wanted: options.opacity ?? 1, gone: false };
    pane.items.set(slot, mine);
    const remove = () => {
      if (!before) return;
      before.gone = true;
      if (before.item) pane.viewer.world.removeItem(before.item);
      before.item = null;
    };
    pane.viewer.addTiledImage({
      ...options,
      success: ({ item }) => {
        if (mine.gone) {
          pane.viewer.world.removeItem(item);
          return;
        }
        mine.item = item;
        item.setOpacity(mine.wanted);
        order(pane);
        clip(pane);
        if (item.getFullyLoaded()) remove();
        else item.addOnceHandler("fully-loaded-change", remove);
      },
      error: remove,
    });
  }

  function hide(pane, slot) {
    const mine = pane.items.get(slot);
    if (!mine) return;
    mine.gone = true;
    if (mine.item) pane.viewer.world.removeItem(mine.item);
    pane.items.delete(slot);
  }

  function order(pane) {
    const slots = ["picture", ...pane.layers.map((layer) => layer.slot)];
    slots
      .map((slot) => pane.items.get(slot)?.item)
      .filter((item) => item && pane.viewer.world.getIndexOfItem(item) >= 0)
      .forEach((item) => pane.viewer.world.setItemIndex(item, pane.viewer.world.getItemCount() - 1));
  }

  function showPicture(pane) {
    const one = store(pane.look.store);
    if (!one || !one.cube) return;
    show(pane, "picture", tiles(pane.look.store, one.cube.name, pictureQuery(pane)));
    if (pane === panes[active]) ends(pane);
  }

  function showLayer(pane, layer) {
    if (!layer.on) {
      hide(pane, layer.slot);
      return;
    }
    const channels = layerOf(layer)?.channels.length;
    show(pane, layer.slot, { ...tiles(layer.store, layer.name, channels ? `bands=${layer.channel}` : ""), opacity: layer.opacity });
  }

  /* --- panes --------------------------------------------------------------------------------------------------- */

  function makePane(number) {
    const node = $(`pane-${number}`);
    const viewer = OpenSeadragon({
      element: node.querySelector(".picture"),
      drawer: "canvas",
      showNavigationControl: false,
      animationTime: 0.35,
      springStiffness: 9,
      blendTime: 0.1,
      imageLoaderLimit: 6,
      maxZoomPixelRatio: 24,
      minZoomImageRatio: 0.6,
      visibilityRatio: 0.3,
      smoothTileEdgesMinZoom: Infinity,
      gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: false },
      gestureSettingsTouch: { clickToZoom: false, dblClickToZoom: false },
      gestureSettingsPen: { clickToZoom: false, dblClickToZoom: false },
    });
    const pane = { number, node, viewer, items: new Map(), layers: [], look: null };
    viewer.canvas.setAttribute("aria-label", "Picture; arrows move it, plus and minus zoom, 0 shows all of it");
    viewer.addHandler("canvas-key", (event) => {
      if ("rRfFgG".includes(event.originalEvent.key)) event.preventDefaultAction = true;
    });
    viewer.addHandler("update-viewport", () => mark(pane));
    viewer.addHandler("viewport-change", () => follow(pane));
    viewer.addHandler("zoom", () => crisp(pane));
    viewer.addHandler("canvas-press", (event) => press(pane, event));
    viewer.addHandler("canvas-drag", (event) => drag(pane, event));
    viewer.addHandler("canvas-drag-end", (event) => release(pane, event));
    viewer.addHandler("canvas-click", (event) => click(pane, event));
    viewer.addHandler("canvas-double-click", () => drawing && cornered() && close());
    new OpenSeadragon.MouseTracker({
      element: viewer.container,
      moveHandler: (event) => hover(pane, event.position),
      leaveHandler: () => (node.querySelector(".readout").textContent = ""),
    });
    return pane;
  }

  const toScene = (pane, position) => pane.viewer.viewport.pointFromPixel(position, true).times(width);
  const toScreen = (pane, x, y) => pane.viewer.viewport.pixelFromPoint(new OpenSeadragon.Point(x / width, y / width), true);

  function crisp(pane) {
    const scale = pane.viewer.viewport.getZoom() * pane.viewer.container.clientWidth / width;
    pane.viewer.drawer.setImageSmoothingEnabled(scale < 1.5);
  }

  function follow(pane) {
    clip(pane);
    const other = panes[1 - pane.number];
    if (moving || !other || $("pane-1").hidden) return;
    moving = true;
    other.viewer.viewport.zoomTo(pane.viewer.viewport.getZoom(), null, true);
    other.viewer.viewport.panTo(pane.viewer.viewport.getCenter(), true);
    moving = false;
  }

  function clip(pane) {
    const on = $("swiping").checked;
    const line = pane.node.querySelector(".line");
    const at = (Number($("swipe").value) / 100) * pane.viewer.container.clientWidth;
    line.hidden = !on;
    line.style.left = `${at}px`;
    const x = toScene(pane, new OpenSeadragon.Point(at, 0)).x;
    for (const layer of pane.layers) {
      const item = pane.items.get(layer.slot)?.item;
      if (!item) continue;
      const one = store(layer.store);
      const left = Math.min(Math.max((x - one.place[0]) / one.place[2], 0), one.size[0]);
      item.setClip(on ? new OpenSeadragon.Rect(left, 0, Math.max(one.size[0] - left, 1e-6), one.size[1]) : null);
    }
  }

  function hover(pane, position) {
    const point = toScene(pane, position);
    const one = store(pane.look.store);
    const [x, y, size] = one.place;
    const column = Math.floor((point.x - x) / size);
    const row = Math.floor((point.y - y) / size);
    const inside = column >= 0 && row >= 0 && column < one.size[0] && row < one.size[1];
    pane.node.querySelector(".readout").textContent = inside ? `x ${column}  y ${row}` : "";
    if (drawing?.pane === pane && cornered()) {
      drawing.end = [point.x, point.y];
      mark(pane);
    }
  }

  /* --- picking and drawing ------------------------------------------------------------------------------------- */

  const tool = () => document.querySelector("input[name=tool]:checked").value;

  const dragged = () => tool() === "rectangle" || tool() === "brush";
  const cornered = () => tool() === "polygon" || tool() === "label";

  function press(pane, event) {
    activate(pane.number);
    if (!dragged() || (tool() === "brush" && !labels.classes.length)) return;
    const point = toScene(pane, event.position);
    drawing = { pane, tool: tool(), points: [[point.x, point.y]], end: [point.x, point.y], radius: Number($("radius").value) };
  }

  function drag(pane, event) {
    if (!dragged() || !drawing) return;
    event.preventDefaultAction = true;
    const point = toScene(pane, event.position);
    Object.assign(drawing, { end: [point.x, point.y], moved: true });
    const last = drawing.points.at(-1);
    if (drawing.tool === "brush" && Math.hypot(point.x - last[0], point.y - last[1]) > drawing.radius / 4) drawing.points.push(drawing.end);
    mark(pane);
  }

  function release(pane, event) {
    if (!dragged() || !drawing) return;
    event.preventDefaultAction = true;
    if (drawing.tool === "brush") {
      const { points, end, radius } = drawing;
      drawing = null;
      addShape([...points, end], radius);
      return;
    }
    const [[x0, y0], [x1, y1]] = [drawing.points[0], drawing.end];
    drawing = null;
    if (Math.abs(x1 - x0) > 0.5 && Math.abs(y1 - y0) > 0.5) takeRegion(pane, [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]);
    mark(pane);
  }

  function click(pane, event) {
    if (!event.quick) return;
    const point = toScene(pane, event.position);
    if (tool() === "pick") takePixel(pane, point.x, point.y);
    if (dragged() && drawing && !drawing.moved) {
      const { tool: kind, radius } = drawing;
      drawing = null;
      if (kind === "brush") addShape([[point.x, point.y]], radius);
    }
    if (!cornered() || (tool() === "label" && !labels.classes.length)) return;
    if (!drawing || drawing.pane !== pane) drawing = { pane, tool: tool(), points: [], end: [point.x, point.y] };
    const last = drawing.points.at(-1);
    const near = last && toScreen(pane, ...last).distanceTo(event.position) < 4;
    if (!near) drawing.points.push([point.x, point.y]);
    mark(pane);
  }

  function close() {
    const { pane, points, tool: kind } = drawing;
    drawing = null;
    if (points.length > 2 && kind === "label") addShape(points, null);
    else if (points.length > 2) takeRegion(pane, points);
    mark(pane);
  }

  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "z" && !drawing && event.target.type !== "text") undo();
    if (!drawing || !cornered()) return;
    if (event.key === "Enter") close();
    else if (event.key === "Escape") drawing = null;
    else if (event.key === "Backspace") drawing.points.pop();
    else return;
    event.preventDefault();
    panes.forEach(mark);
  }, true);

  function add(one) {
    const used = new Set(taken.map((each) => each.colour));
    one.colour = COLOURS.find((colour) => !used.has(colour)) || COLOURS[serial % COLOURS.length];
    one.number = ++serial;
    taken.push(one);
    if (taken.length > COLOURS.length) taken.shift();
    spectra();
  }

  async function takePixel(pane, x, y) {
    const index = pane.look.store;
    try {
      const answer = await ask(`spectrum?store=${index}&x=${x}&y=${y}`);
      const [left, top, size] = store(index).place;
      const said = answer.layers.map((each) => `${each.name} ${each.text}`).join(", ");
      add({
        store: index,
        place: [left + (answer.x + 0.5) * size, top + (answer.y + 0.5) * size],
        text: `x ${answer.x}, y ${answer.y}`,
        said,
        mean: answer.values,
      });
    } catch (error) {
      if (!String(error.message).includes("Click into the picture")) say(error.message, true);
    }
  }

  async function takeRegion(pane, polygon) {
    const index = pane.look.store;
    say("region …");
    try {
      const corners = polygon.map(([x, y]) => `${x.toFixed(2)},${y.toFixed(2)}`).join(";");
      const answer = await ask(`region?store=${index}&polygon=${corners}`);
      const text = `mean of ${answer.pixels.toLocaleString("en")} pixels`;
      add({ store: index, polygon, text, said: "", mean: answer.mean, deviation: answer.deviation });
      state();
    } catch (error) {
      say(error.message, true);
    }
  }

  /* Draws what was picked and what is being drawn over a picture. */
  function mark(pane) {
    const svg = pane.node.querySelector(".marks");
    svg.replaceChildren();
    if (!about || !pane.viewer.world.getItemCount()) return;
    const line = (points) => points.map(([x, y]) => toScreen(pane, x, y)).map(({ x, y }) => `${x},${y}`).join(" ");
    const label = (one, x, y) => {
      const text = drawn("text", { x, y });
      text.textContent = one.number;
      svg.append(text);
    };
    for (const shape of labels.shapes) svg.append(...shapeMarks(pane, shape, line));
    for (const one of taken) {
      if (one.polygon) {
        svg.append(drawn("polygon", { points: line(one.polygon), class: "halo" }), drawn("polygon", { points: line(one.polygon), stroke: one.colour }));
        const at = toScreen(pane, ...one.polygon[0]);
        label(one, at.x + 5, at.y - 5);
      } else {
        const at = toScreen(pane, ...one.place);
        svg.append(drawn("circle", { cx: at.x, cy: at.y, r: 6, class: "halo" }), drawn("circle", { cx: at.x, cy: at.y, r: 6, stroke: one.colour }));
        label(one, at.x + 9, at.y + 4);
      }
    }
    if (drawing?.pane === pane && drawing.tool === "brush") {
      svg.append(...shapeMarks(pane, { class: labels.current, points: [...drawing.points, drawing.end], radius: drawing.radius }, line));
    } else if (drawing?.pane === pane) {
      const [x0, y0] = drawing.points[0] || drawing.end;
      const [x1, y1] = drawing.end;
      const points = drawing.tool === "rectangle" ? [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]] : [...drawing.points, drawing.end];
      svg.append(drawn("polyline", { points: line(points), class: "halo" }), drawn("polyline", { points: line(points), stroke: "#fff" }));
    }
  }

  /* --- labels -------------------------------------------------------------------------------------------------- */

  const colourOf = (number) => (number === null ? "#ffffff" : about.palette[number]);

  function shapeMarks(pane, shape, line) {
    const colour = colourOf(shape.class);
    if (shape.radius === null) {
      const points = line(shape.points);
      return [drawn("polygon", { points, class: "rim" }), drawn("polygon", { points, class: "label", fill: colour, stroke: colour })];
    }
    const wide = (2 * shape.radius * pane.viewer.viewport.getZoom(true) * pane.viewer.container.clientWidth) / width;
    const points = shape.points.length > 1 ? shape.points : [shape.points[0], [shape.points[0][0] + 1e-3, shape.points[0][1]]];
    return ["rim", "label stroke"].map((kind) => {
      const stroke = drawn("polyline", { points: line(points), class: kind, stroke: colour });
      stroke.style.strokeWidth = `${kind === "rim" ? wide + 3 : wide}px`;
      return stroke;
    });
  }

  function addShape(points, radius) {
    labels.shapes.push({ class: labels.current, points: points.map(([x, y]) => [+x.toFixed(2), +y.toFixed(2)]), radius });
    drew();
  }

  function undo() {
    if (!labels.shapes.length) return;
    labels.shapes.pop();
    drew();
  }

  function drew() {
    labels.saved = false;
    drawingState(`${labels.shapes.length} shapes, not saved yet`);
    panes.forEach(mark);
  }

  function drawingState(text) {
    $("undo").disabled = !labels.shapes.length;
    $("save-labels").disabled = labels.saved || !labels.classes.length;
    $("draw-state").textContent = text;
  }

  function classInputs() {
    const row = (text, number) => {
      const radio = element("input", { type: "radio", name: "class", checked: labels.current === number });
      radio.addEventListener("change", () => (labels.current = number));
      const chip = element("span", { className: "chip" });
      chip.style.background = colourOf(number);
      return element("li", {}, element("label", {}, radio, chip, element("span", { textContent: text })));
    };
    const rows = labels.classes.map(row);
    $("classes").replaceChildren(...rows, ...(rows.length ? [row("no label (takes away)", null)] : []));
  }

  async function saveLabels() {
    drawingState("saving …");
    try {
      const body = JSON.stringify({ classes: labels.classes, shapes: labels.shapes });
      const answer = await fetch("labels", { method: "POST", headers: { "content-type": "application/json" }, body });
      const data = await answer.json();
      if (!answer.ok) throw new Error(data.error);
      labels.saved = true;
      const counts = Object.entries(data.pixels).map(([name, pixels]) => `${name} ${pixels.toLocaleString("en")}`);
      drawingState(`Saved. Pixels: ${counts.join(", ")}`);
    } catch (error) {
      drawingState(`Not saved: ${error.message}`);
    }
  }

  async function beginDrawing() {
    $("drawing").hidden = $("draw-tools").hidden = !about.draws;
    if (!about.draws) return;
    $("draw-name").textContent = about.draws;
    Object.assign(labels, await ask("labels"));
    classInputs();
    drawingState(labels.classes.length ? `${labels.shapes.length} shapes` : "Name a class, then draw with the tools above the picture.");
    $("new-class").addEventListener("submit", (event) => {
      event.preventDefault();
      const name = $("class-name").value.trim().replace(/\s+/g, " ");
      if (name && !labels.classes.includes(name)) {
        labels.current = labels.classes.push(name) - 1;
        drew();
      }
      $("class-name").value = "";
      classInputs();
    });
    $("radius").addEventListener("input", () => ($("radius-text").textContent = $("radius").value));
    $("undo").addEventListener("click", undo);
    $("save-labels").addEventListener("click", saveLabels);
    addEventListener("beforeunload", (event) => labels.saved || event.preventDefault());
    panes.forEach(mark);
  }

  /* --- spectra ------------------------------------------------------------------------------------------------- */

  function axisOf(index) {
    const cube = store(index).cube;
    return cube.axis || { name: "band", unit: "1", values: Array.from({ length: cube.bands }, (_, i) => i), good: null };
  }

  const titleOf = (axis) => (axis.unit === "1" ? axis.name : `${axis.name} (${axis.unit})`);

  const room = () => $("spectra").clientWidth - 28; // without the padding

  function columns() {
    const last = taken.at(-1);
    const axis = axisOf(last.store);
    const shown = taken.filter((one) => axisOf(one.store).name === axis.name && axisOf(one.store).unit === axis.unit);
    const tables = shown.map((one) => {
      const own = axisOf(one.store);
      const order = own.values.map((_, i) => i).sort((a, b) => own.values[a] - own.values[b]);
      const good = (values) => order.map((i) => (own.good && !own.good[i] ? null : values[i]));
      const mean = good(one.mean);
      const both = (sign) => good(one.mean.map((v, i) => (v === null ? null : v + sign * one.deviation[i])));
      return [order.map((i) => own.values[i]), mean, ...(one.deviation ? [both(1), both(-1)] : [])];
    });
    return { axis, shown, data: tables.length > 1 ? uPlot.join(tables) : tables[0] };
  }

  function spectra() {
    panes.forEach(mark);
    for (const id of ["save", "clear"]) $(id).disabled = !taken.length;
    $("hint").hidden = taken.length > 0;
    $("numbers").hidden = !taken.length;
    $("taken").replaceChildren(...taken.map(entry));
    chart?.destroy();
    chart = null;
    $("cursor").textContent = "";
    $("chart").replaceChildren();
    if (!taken.length) return;
    const { axis, shown, data } = columns();
    const ink = getComputedStyle(document.body);
    const [text, grid] = [ink.getPropertyValue("--soft").trim(), ink.getPropertyValue("--line").trim()];
    const series = [{ label: titleOf(axis) }];
    const bands = [];
    for (const one of shown) {
      series.push({ label: `${one.number}`, stroke: one.colour, width: 1.6, points: { show: data[0].length < 24 } });
      if (one.deviation) {
        bands.push({ series: [series.length, series.length + 1], fill: `${one.colour}33` });
        const edge = { stroke: `${one.colour}66`, width: 0.5, points: { show: false } };
        series.push({ label: `${one.number} +`, ...edge }, { label: `${one.number} −`, ...edge });
      }
    }
    const side = { stroke: text, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 }, font: "12px system-ui, DejaVu Sans, sans-serif", labelFont: "12px system-ui, DejaVu Sans, sans-serif" };
    chart = new uPlot({
      width: room(),
      height: 190,
      legend: { show: false },
      cursor: { drag: { x: true, y: false }, points: { size: 6 } },
      scales: { x: { time: false } },
      series,
      bands,
      axes: [{ ...side, label: titleOf(axis), labelSize: 20, size: 34 }, { ...side, size: 56 }],
      hooks: { setCursor: [(plot) => read(plot, axis, shown)] },
    }, data, $("chart"));
    numbers(axis, shown, data);
  }

  function read(plot, axis, shown) {
    const at = plot.cursor.idx;
    if (at === null || at === undefined) {
      $("cursor").textContent = "";
      return;
    }
    const values = [];
    let column = 1;
    for (const one of shown) {
      const value = plot.data[column][at];
      values.push(`${one.number}: ${value === null || value === undefined ? "no data" : value.toPrecision(4)}`);
      column += one.deviation ? 3 : 1;
    }
    $("cursor").textContent = `${plot.data[0][at].toLocaleString("en", { maximumFractionDigits: 2 })} ${axis.unit === "1" ? "" : axis.unit}   ${values.join("   ")}`;
  }

  function heads(axis, shown) {
    const name = (one) => `${one.number} ${store(one.store).name} ${one.text}`;
    return [titleOf(axis), ...shown.flatMap((one) => (one.deviation ? [name(one), `${one.number} mean + deviation`, `${one.number} mean − deviation`] : [name(one)]))];
  }

  function numbers(axis, shown, data) {
    const table = $("numbers").querySelector("table");
    const head = element("tr", {}, ...heads(axis, shown).map((text) => element("th", { textContent: text, scope: "col" })));
    const rows = data[0].map((_, i) => element("tr", {}, ...data.map((column) => element("td", { textContent: column[i] ?? "" }))));
    table.replaceChildren(element("thead", {}, head), element("tbody", {}, ...rows));
  }

  function entry(one) {
    const chip = element("span", { className: "chip" });
    chip.style.background = one.colour;
    const where = about.stores.length > 1 ? ` · ${store(one.store).name}` : "";
    const text = element("span", { textContent: `${one.number}  ${one.text}${where}${one.said ? ` · ${one.said}` : ""}` });
    const remove = element("button", { type: "button", textContent: "×", ariaLabel: `Remove spectrum ${one.number}`, title: "Remove" });
    remove.addEventListener("click", () => {
      taken.splice(taken.indexOf(one), 1);
      spectra();
    });
    return element("li", {}, chip, text, remove);
  }

  function save() {
    const { axis, shown, data } = columns();
    const quoted = (text) => (/^[=+@\-\t]/.test(text) ? `"'${text.replaceAll('"', '""')}"` : `"${text.replaceAll('"', '""')}"`);
    const lines = [heads(axis, shown).map(quoted).join(","), ...data[0].map((_, i) => data.map((column) => column[i] ?? "").join(","))];
    const link = element("a", { href: URL.createObjectURL(new Blob([`${lines.join("\n")}\n`], { type: "text/csv" })), download: "spectra.csv" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  /* --- controls ------------------------------------------------------------------------------------------------ */

  function activate(number) {
    if (number === active) return;
    active = number;
    document.querySelector(`input[name=side][value="${number}"]`).checked = true;
    panes.forEach((pane) => pane.node.classList.toggle("active", pane.number === active && !$("pane-1").hidden));
    controls();
  }

  function controls() {
    const { look } = panes[active];
    const cubes = usable().filter((one) => one.cube);
    $("store-row").hidden = cubes.length < 2;
    $("store").replaceChildren(...cubes.map((one) => new Option(one.name, one.index, false, one.index === look.store)));
    const presets = store(look.store).cube?.presets || [];
    $("preset").replaceChildren(...presets.map((preset, i) => new Option(preset.title, i, false, i === look.preset)));
    if (look.preset < 0) $("preset").prepend(new Option("Own bands", -1, true, true));
    $("low").value = look.low;
    $("high").value = look.high;
    $("gamma").value = look.gamma;
    $("stretch").hidden = look.mode === "srgb" || look.mode === "index";
    bandInputs();
    layerInputs();
    ends(panes[active]);
  }

  function bandInputs() {
    const { look } = panes[active];
    if (!store(look.store).cube) {
      $("bands").replaceChildren();
      return;
    }
    const axis = axisOf(look.store);
    const nearest = (place) => axis.values.reduce((best, value, i) => (Math.abs(value - place) < Math.abs(axis.values[best] - place) ? i : best), 0);
    const rows = NAMES[look.mode].map((name, i) => {
      const at = look.bands[i];
      const unit = axis.unit === "1" ? "" : axis.unit;
      const label = unit ? `${name} in ${unit}` : name;
      const number = element("input", { type: "number", step: "any", value: +axis.values[at].toFixed(2), ariaLabel: label });
      const range = element("input", { type: "range", min: 0, max: axis.values.length - 1, step: 1, value: at, ariaLabel: `${name}, by band` });
      const set = (band) => {
        look.bands = look.bands.map((old, j) => (i === j ? band : old));
        if (look.mode !== "band") look.preset = -1;
        showPicture(panes[active]);
      };
      number.addEventListener("change", () => {
        set(nearest(Number(number.value)));
        controls();
      });
      range.addEventListener("input", () => (number.value = +axis.values[Number(range.value)].toFixed(2)));
      range.addEventListener("change", () => set(Number(range.value)));
      return element("div", { className: "band" }, element("span", { textContent: name }), number, element("small", { textContent: unit }), range);
    });
    $("bands").replaceChildren(...rows);
  }

  async function ends(pane) {
    const { look } = pane;
    const one = store(look.store);
    const plain = look.mode === "index" || look.mode === "band";
    $("scale").hidden = !plain || !one.cube;
    if ($("scale").hidden) return;
    const { limits } = await ask(`limits/${look.store}/${encodeURIComponent(one.cube.name)}?${pictureQuery(pane)}`).catch(() => ({ limits: [[0, 1]] }));
    if (pane === panes[active]) ramp($("scale"), look.mode, limits[0]);
  }

  function ramp(node, kind, [low, high]) {
    node.querySelector(".ramp").style.background = `linear-gradient(to right, ${RAMPS[kind].join(",")})`;
    const [left, right] = node.querySelectorAll(".ends span");
    left.textContent = Number(low.toPrecision(3));
    right.textContent = Number(high.toPrecision(3));
  }

  function layerInputs() {
    const pane = panes[active];
    $("no-layers").hidden = pane.layers.length > 0;
    $("layers").replaceChildren(...pane.layers.map((layer) => layerInput(pane, layer)));
  }

  function layerInput(pane, layer) {
    const facts = layerOf(layer);
    const box = element("input", { type: "checkbox", checked: layer.on });
    const title = facts.kind === "errors" ? "prediction against truth" : layer.name;
    const name = element("label", { className: "name" }, box, element("span", { textContent: title }), element("small", { textContent: store(layer.store).name }));
    const more = element("div", { className: "more", hidden: !layer.on });
    const opacity = element("input", { type: "range", min: 0, max: 1, step: 0.05, value: layer.opacity, ariaLabel: `Opacity of ${title}` });
    opacity.addEventListener("input", () => {
      layer.opacity = Number(opacity.value);
      const mine = pane.items.get(layer.slot);
      if (mine) mine.wanted = layer.opacity;
      mine?.item?.setOpacity(layer.opacity);
    });
    more.append(element("div", { className: "row" }, element("span", { textContent: "Opacity" }), opacity));
    if (facts.channels.length) {
      const options = facts.channels.map((text, i) => new Option(text, i, false, i === layer.channel));
      const select = element("select", { ariaLabel: `Channel of ${title}` }, ...options);
      select.addEventListener("change", () => {
        layer.channel = Number(select.value);
        showLayer(pane, layer);
      });
      more.append(element("div", { className: "row" }, element("span", { textContent: "Of" }), select));
    }
    more.append(legend(layer, facts));
    box.addEventListener("change", () => {
      layer.on = box.checked;
      more.hidden = !layer.on;
      showLayer(pane, layer);
    });
    return element("li", {}, name, more);
  }

  function legend(layer, facts) {
    if (facts.kind === "ids") return element("p", { className: "hint", textContent: "A colour for each number; 0 is left out." });
    if (facts.classes.length) {
      const keys = facts.classes.slice(0, 40).map(({ name, colour }) => {
        const chip = element("span", { className: "chip" });
        chip.style.background = colour;
        return element("span", {}, chip, element("span", { textContent: name }));
      });
      return element("div", { className: "keys" }, ...keys);
    }
    const scale = element("div", {}, element("div", { className: "ramp" }), element("p", { className: "ends" }, element("span"), element("span")));
    if (facts.kind === "shares") ramp(scale, "values", [0, 1]);
    else if (facts.kind === "values") {
      const query = facts.channels.length ? `?bands=${layer.channel}` : "";
      ask(`limits/${layer.store}/${encodeURIComponent(layer.name)}${query}`).then(({ limits }) => ramp(scale, "values", limits[0])).catch(() => {});
    } else scale.hidden = true;
    return scale;
  }

  function lookOf(index, preset = 0) {
    const first = store(index).cube?.presets[preset] || { mode: "rgb", bands: [] };
    return { store: index, preset, mode: first.mode, bands: [...first.bands], low: 2, high: 98, gamma: 1 };
  }

  function changed(values) {
    Object.assign(panes[active].look, values);
    showPicture(panes[active]);
    controls();
  }

  function listen() {
    $("store").addEventListener("change", () => {
      const { low, high, gamma } = panes[active].look;
      changed({ ...lookOf(Number($("store").value)), low, high, gamma });
    });
    $("preset").addEventListener("change", () => {
      const preset = Number($("preset").value);
      const { mode, bands } = store(panes[active].look.store).cube.presets[preset];
      changed({ preset, mode, bands: [...bands] });
    });
    for (const id of ["low", "high"]) {
      $(id).addEventListener("change", () => {
        const [low, high] = [Number($("low").value), Number($("high").value)];
        if (low >= 0 && low < high && high <= 100) changed({ low, high });
        else controls();
      });
    }
    $("gamma").addEventListener("change", () => changed({ gamma: Number($("gamma").value) }));
    document.querySelectorAll("input[name=side]").forEach((input) => input.addEventListener("change", () => activate(Number(input.value))));
    document.querySelectorAll("input[name=tool]").forEach((input) => input.addEventListener("change", () => {
      drawing = null;
      panes.forEach(mark);
    }));
    const zoom = (factor) => {
      panes[active].viewer.viewport.zoomBy(factor);
      panes[active].viewer.viewport.applyConstraints();
    };
    $("in").addEventListener("click", () => zoom(1.6));
    $("out").addEventListener("click", () => zoom(1 / 1.6));
    $("whole").addEventListener("click", () => panes[active].viewer.viewport.goHome());
    $("pixels").addEventListener("click", () => panes[active].viewer.viewport.zoomTo(width / panes[active].viewer.container.clientWidth));
    $("both").addEventListener("change", sides);
    $("swiping").addEventListener("change", () => {
      $("swipe").hidden = !$("swiping").checked;
      panes.forEach(clip);
    });
    $("swipe").addEventListener("input", () => panes.forEach(clip));
    $("clear").addEventListener("click", () => {
      taken.length = 0;
      spectra();
    });
    $("save").addEventListener("click", save);
    $("by-number").addEventListener("submit", (event) => {
      event.preventDefault();
      const [x, y, size] = store(panes[active].look.store).place;
      takePixel(panes[active], x + (Number($("at-x").value) + 0.5) * size, y + (Number($("at-y").value) + 0.5) * size);
    });
    addEventListener("resize", () => chart?.setSize({ width: room(), height: 190 }));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", spectra);
  }

  function sides() {
    const on = $("both").checked;
    $("pane-1").hidden = !on;
    $("side").hidden = !on;
    if (on && !panes[1]) {
      const others = usable().filter((one) => one.cube && one.index !== panes[0].look.store);
      start(1, others[0]?.index ?? panes[0].look.store);
    }
    if (on) requestAnimationFrame(() => follow(panes[0]));
    activate(on ? active : 0);
    panes.forEach((pane) => pane.node.classList.toggle("active", on && pane.number === active));
  }

  function start(number, index) {
    const pane = makePane(number);
    pane.look = lookOf(index);
    panes[number] = pane;
    syncLayers(pane);
    if (!store(index).cube && pane.layers.length) Object.assign(pane.layers[0], { on: true, opacity: 1 });
    showPicture(pane);
    pane.layers.forEach((layer) => layer.on && showLayer(pane, layer));
  }

  /* --- changes of the stores ----------------------------------------------------------------------------------- */

  function syncLayers(pane) {
    const wanted = usable().flatMap((one) => one.layers.map((layer) => ({ store: one.index, name: layer.name, slot: `${one.index}/${layer.name}` })));
    const known = new Map(pane.layers.map((layer) => [layer.slot, layer]));
    pane.layers = wanted.map((layer) => known.get(layer.slot) || { ...layer, on: false, opacity: 0.6, channel: Math.max(0, (layerOf(layer)?.channels.length ?? 0) - 1) });
  }

  function state() {
    const wrong = about.stores.filter((one) => one.error).map((one) => `${one.name}: ${one.error}`);
    const busy = usable().filter((one) => one.pyramid < 1 && one.status !== "writing").map((one) => `${one.name}: coarser copies ${Math.round(100 * one.pyramid)} %`);
    const writing = usable().filter((one) => one.status !== "complete").map((one) => `${one.name} is ${one.status === "writing" ? "being written" : one.status}`);
    say([...wrong, ...about.notes, ...busy, ...writing].join(" · "), wrong.length + about.notes.length > 0);
  }

  async function refresh() {
    let wait = 15000;
    try {
      const now = await ask("description");
      const before = about;
      about = now;
      if (usable().some((one) => one.pyramid < 1 || one.status === "writing")) wait = 2000;
      for (const one of usable()) {
        const old = before.stores[one.index];
        const step = Math.floor(one.pyramid * 6) !== Math.floor((old.pyramid ?? 0) * 6);
        const other = old.stamp !== one.stamp && (one.status === "writing" || old.status !== one.status || one.pyramid === old.pyramid);
        if (!step && !other && !old.error) {
          one.stamp = old.stamp;
          continue;
        }
        for (const pane of panes) {
          syncLayers(pane);
          if (pane.look.store === one.index) showPicture(pane);
          pane.layers.filter((layer) => layer.store === one.index && layer.on).forEach((layer) => showLayer(pane, layer));
        }
      }
      state();
    } catch (error) {
      say(error.message, true);
    }
    setTimeout(refresh, wait);
  }

  async function begin() {
    // OpenSeadragon adds a style unless it finds this element; the page allows none, and view.css has the rule.
    const styled = document.createElementNS("tilespec", "style");
    styled.setAttribute("data-openseadragon-mobile-css", "");
    document.head.append(styled);
    try {
      about = await ask("description");
    } catch (error) {
      say(error.message, true);
      return;
    }
    history.replaceState(null, "", location.pathname);
    state();
    const shown = usable();
    if (!shown.length) return;
    width = Math.max(...shown.map((one) => one.place[0] + one.size[0] * one.place[2]));
    $("what").textContent = about.stores.map((one) => (one.size ? `${one.name} (${one.size.join(" × ")}${one.cube ? ` × ${one.cube.bands}` : ""})` : one.name)).join(", ");
    document.title = `${shown[0].name} – tilespec view`;
    start(0, (shown.find((one) => one.cube) || shown[0]).index);
    listen();
    controls();
    beginDrawing().catch((error) => say(error.message, true));
    setTimeout(refresh, 1500);
  }

  begin();
})();
