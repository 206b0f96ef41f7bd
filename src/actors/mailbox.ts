import type { Event } from "../job/transition.ts";

/** What an actor has been told and has not dealt with yet. */
export class Mailbox {
  /** Undefined while there are none: most events are taken out as soon as they are in. */
  #events: Event[] | undefined;
  #doubt = false;

  post(event: Event): void {
    if (this.#events) this.#events.push(event);
    else this.#events = [event];
  }

  /** Someone else may have written the job. Saying so again changes nothing. */
  postDoubt(): void {
    this.#doubt = true;
  }

  /** Somebody else may have written the job, and that has not been found out yet. */
  get hasDoubt(): boolean {
    return this.#doubt;
  }

  get isEmpty(): boolean {
    return !this.#doubt && this.#events === undefined;
  }

  /** What is to be dealt with next: a doubt before anything else, then all events together. Undefined if there is nothing. */
  take(): "doubt" | Event[] | undefined {
    if (this.#doubt) {
      this.#doubt = false;
      return "doubt";
    }
    const events = this.#events;
    this.#events = undefined;
    return events;
  }
}

/** What has come to a graph, results first: what was gained is kept, although another entry has failed in the same moment. */
export function gainsFirst(mail: Event[]): Event[] {
  if (mail.length === 1) return mail;
  return [...mail.filter(isGain), ...mail.filter((event) => !isGain(event))];
}

function isGain(event: Event): boolean {
  if (event.type === "child_ended") return event.outcome.state === "completed";
  return event.type === "succeeded" || event.type === "signalled";
}
