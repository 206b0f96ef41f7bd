/**
 * Numbers in JSON that would not come out as they went in. A program in Go may send 9007199254740993; read as a number of
 * JavaScript it is …992, and it would arrive so at a worker in Python. Such a job or result is refused, never rounded in silence.
 */

/** Only with so many digits, or so large an exponent, can one be. Most texts have neither, and this is all the work. */
const SUSPICIOUS = /\d{16}|\d[eE]\+?\d{3}/;
const QUOTE = 34;
const BACKSLASH = 92;
const NUMBER = /-?\d[\d.eE+-]*/y;

/** The first number in valid JSON that cannot be passed on exactly; undefined if there is none. */
export function inexactNumber(json: string): string | undefined {
  if (!SUSPICIOUS.test(json)) return undefined;
  for (let at = 0; at < json.length; ) {
    const code = json.charCodeAt(at);
    if (code === QUOTE) {
      at = afterText(json, at + 1);
      continue;
    }
    NUMBER.lastIndex = at;
    const number = NUMBER.exec(json)?.[0];
    if (number === undefined) at += 1;
    else if (isExact(number)) at += number.length;
    else return number.slice(0, 64);
  }
  return undefined;
}

function afterText(json: string, from: number): number {
  for (let at = from; at < json.length; at++) {
    const code = json.charCodeAt(at);
    if (code === BACKSLASH) at += 1;
    else if (code === QUOTE) return at + 1;
  }
  return json.length;
}

/** Fractions are as exact as floating point is everywhere; integers are to be the same digits again. */
function isExact(number: string): boolean {
  const value = Number(number);
  if (!Number.isFinite(value)) return false;
  if (/[.eE]/.test(number) || number.length < 16) return true;
  return String(value) === number;
}
