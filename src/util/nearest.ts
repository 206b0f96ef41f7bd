/** The word that somebody who wrote another one is likely to have meant. */

/** Longer words are compared with none. */
const MAX_LENGTH = 128;

/** Of the candidates the one that is fewest edits away, if that is at most a third of the word's length (at least 1). */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  if (word.length > MAX_LENGTH) return undefined;
  let best: string | undefined;
  let most = Math.max(1, Math.floor(word.length / 3));
  for (const candidate of candidates) {
    if (Math.abs(candidate.length - word.length) > most) continue;
    const edits = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (edits > most || (best !== undefined && edits === most)) continue;
    best = candidate;
    most = edits;
  }
  return best;
}

/** How many characters have to be added, left out, replaced or swapped with their neighbour. */
function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let above = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const replaced = Number(above[column - 1]) + (a[row - 1] === b[column - 1] ? 0 : 1);
      let edits = Math.min(replaced, Number(above[column]) + 1, Number(current[column - 1]) + 1);
      const swapped = row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
      if (swapped) edits = Math.min(edits, Number(before[column - 2]) + 1);
      current.push(edits);
    }
    before = above;
    above = current;
  }
  return Number(above[b.length]);
}
