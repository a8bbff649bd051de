const form = document.querySelector("form");
const list = document.querySelector("#entries");

function show(entries) {
  const items = entries.map(({ at, name, text }) => {
    const item = document.createElement("li");
    const who = document.createElement("strong");
    who.textContent = `${name}, ${new Date(at).toLocaleDateString()}: `;
    item.append(who, text);
    return item;
  });
  list.replaceChildren(...items);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = JSON.stringify(Object.fromEntries(new FormData(form)));
  const response = await fetch("/api/entries", { method: "POST", body });
  if (!response.ok) return alert((await response.json()).error);
  form.reset();
  show(await response.json());
});

show(await (await fetch("/api/entries")).json());
