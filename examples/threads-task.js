/** Keeps a whole thread busy for `ms`, or for ever: what must not be done in a handler itself. */
export default function count(ms) {
  const end = performance.now() + (ms ?? Number.POSITIVE_INFINITY);
  while (performance.now() < end);
  return `counted for ${ms} ms`;
}
