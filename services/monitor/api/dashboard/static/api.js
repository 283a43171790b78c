// Asks the monitor, and says in a sentence when it can't.

export async function ask(path, parameters, signal) {
  const query = new URLSearchParams(parameters);
  let answer;
  try {
    answer = await fetch(`/api/${path}?${query}`, { signal });
  } catch (failure) {
    if (failure.name === "AbortError") throw failure;
    throw new Error("The monitor does not answer; this page tries again.");
  }
  const type = answer.headers.get("Content-Type") ?? "";
  const document = type.startsWith("application/json") ? await answer.json() : {};
  if (!answer.ok) throw new Error(document.error ?? `The monitor answered ${answer.status}.`);
  return document;
}

// Calls `happened` with each event, and `connected` with whether it is told of them.
export function listen(connected, happened) {
  const source = new EventSource("/events");
  source.addEventListener("open", () => connected(true));
  source.addEventListener("error", () => connected(false));
  source.addEventListener("message", (message) => happened(JSON.parse(message.data)));
}
