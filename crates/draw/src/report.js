// Long tables can be searched, and sorted by a column. Without this script they are as long, in their first order.
for (const table of document.querySelectorAll("table.long")) {
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const search = document.createElement("input");
  search.type = "search";
  search.placeholder = `Search ${rows.length} rows`;
  search.setAttribute("aria-label", `${search.placeholder}: ${table.parentNode.getAttribute("aria-label")}`);
  search.addEventListener("input", () => {
    const wanted = search.value.toLowerCase();
    for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
  table.parentNode.before(search);
  const heads = Array.from(table.tHead.rows[0].cells);
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const order = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
      const sign = order === "ascending" ? 1 : -1;
      const text = (row) => row.cells[column].textContent.trim();
      const number = (row) => parseFloat(text(row).replace("\u2212", "-"));
      // Empty cells come last, numbers before words.
      const place = (row) => (text(row) === "" ? 2 : Number.isNaN(number(row)) ? 1 : 0);
      const byValue = (a, b) => (place(a) === 0 ? number(a) - number(b) : text(a).localeCompare(text(b)));
      rows.sort((a, b) => place(a) - place(b) || sign * byValue(a, b));
      body.append(...rows);
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order);
    });
  });
}
