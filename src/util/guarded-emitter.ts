/**
 * An emitter whose listeners cannot harm each other or who emits: what one of them throws, or rejects with, is told to `report`
 * and goes no further. The listeners after it are called all the same.
 */
import { EventEmitter } from "node:events";

type Listener = (...args: unknown[]) => unknown;

/** `report` must not throw. */
export function guardedEmitter(report: (event: string, error: unknown) => void): EventEmitter {
  const emitter = new EventEmitter();
  const { on, prependListener } = emitter;
  /** Node takes a listener out by what it finds as `listener` of it, too. */
  const guarded = (event: string, listener: Listener, once: boolean): Listener => {
    const call = listener.bind(emitter);
    const tell = (error: unknown) => report(event, error);
    const guard = (...args: unknown[]): void => {
      if (once) emitter.off(event, guard);
      callGuarded(call, tell, args);
    };
    return Object.assign(guard, { listener });
  };
  const adding = (add: typeof on, once: boolean) => (event: string, listener: Listener) =>
    add.call(emitter, event, guarded(event, listener, once));
  return Object.assign(emitter, {
    on: adding(on, false),
    addListener: adding(on, false),
    once: adding(on, true),
    prependListener: adding(prependListener, false),
    prependOnceListener: adding(prependListener, true),
  });
}

/** Calls what is not ours. What it throws, at once or by a promise, is told to `report`. */
export function callGuarded(call: Listener, report: (error: unknown) => void, args: unknown[] = []): void {
  try {
    const returned = call(...args);
    if (returned instanceof Promise) returned.catch(report);
  } catch (error) {
    report(error);
  }
}
