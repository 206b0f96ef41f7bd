/** Which word was meant, where one was mistyped. */

/** Of words as long as names are; longer ones are not compared. */
const MAX_LENGTH = 128;

/**
 * The word that is most like the given one; undefined if none is like it: more than a third of it would have to be changed.
 *
 * @example mostSimilar("aproval", ["approval", "payment"]) // "approval"
 */
export function mostSimilar(word: string, words: Iterable<string>): string | undefined {
  if (word.length > MAX_LENGTH) return undefined;
  let best: string | undefined;
  let least = Math.max(1, Math.floor(word.length / 3)) + 1;
  for (const one of words) {
    if (one.length > MAX_LENGTH || Math.abs(one.length - word.length) >= least) continue;
    const distance = distanceOf(word.toLowerCase(), one.toLowerCase());
    if (distance >= least) continue;
    best = one;
    least = distance;
  }
  return best;
}

/** How many characters must be put in, left out or replaced to make one of the other (Levenshtein). */
function distanceOf(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] as number) + 1, (next[j - 1] as number) + 1));
    }
    row = next;
  }
  return row[b.length] as number;
}
