// Sends the forms of a case: a second press sends nothing, and without a connection what was typed stays.
"use strict";

const warning = document.getElementById("alert");

function warn(text) {
  warning.textContent = text;
  warning.hidden = false;
  warning.scrollIntoView({ block: "nearest" });
}

async function send(form, button) {
  const fields = new URLSearchParams(new FormData(form));
  if (button && button.name) fields.set(button.name, button.value);
  // form.action would be the button of that name.
  const answer = await fetch(form.getAttribute("action"), { method: "POST", body: fields });
  if (answer.ok) {
    location.assign(answer.url);
    return true;
  }
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const message = page.querySelector("[data-message]");
  warn(message ? message.textContent : `The service answered ${answer.status}; nothing was recorded.`);
  const seen = page.querySelector("input[name=seen]");
  if (seen) document.querySelectorAll("input[name=seen]").forEach((input) => { input.value = seen.value; });
  return false;
}

for (const form of document.querySelectorAll("form.act")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const buttons = [...document.querySelectorAll("form.act button")];
    if (buttons.some((button) => button.disabled)) return;
    buttons.forEach((button) => { button.disabled = true; });
    let sent = false;
    try {
      sent = await send(form, event.submitter);
    } catch {
      warn("No connection to the service. What you typed is still here; send it again when the connection is back. " +
        "It counts once, even if it arrived.");
    }
    buttons.forEach((button) => { button.disabled = sent; });
  });
}

// A page that the browser kept would show a case as it was.
window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
