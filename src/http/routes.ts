/** The routes that there are, for requests that have none: 405 where the path has others, else 404 with all there are. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";

/** To be called before routes are added: it learns of each as it is. */
export function answerUnrouted(app: FastifyInstance): void {
  /** Methods by path, such as `/v1/job/:id`. */
  const routes = new Map<string, string[]>();
  app.addHook("onRoute", ({ url, method }) => {
    routes.set(url, [...(routes.get(url) ?? []), ...[method].flat()]);
  });
  app.setNotFoundHandler((request, reply) => answer(routes, request, reply));
}

type Routes = ReadonlyMap<string, string[]>;

function answer(routes: Routes, { method, url }: FastifyRequest, reply: FastifyReply): FastifyReply {
  const path = url.split("?")[0] ?? "";
  const methods = methodsOf(routes, path);
  // With that method it may still have no route: an id may be longer than is looked at.
  if (methods.length > 0 && !methods.includes(method)) {
    const allowed = methods.toSorted().join(", ");
    const message = `${method} is no method of ${path}; it has ${allowed}`;
    return reply
      .code(405)
      .header("Allow", allowed)
      .send({ error: { code: "method_not_allowed", message } });
  }
  const message = `there is no route ${method} ${path}; there are ${listOf(routes)}`;
  return reply.code(404).send({ error: { code: "no_route", message } });
}

function methodsOf(routes: Routes, path: string): string[] {
  const parts = path.split("/");
  const isAt = (route: string) => {
    const wanted = route.split("/");
    return (
      wanted.length === parts.length && wanted.every((one, at) => (one.startsWith(":") ? parts[at] : one === parts[at]))
    );
  };
  return [...routes].flatMap(([route, methods]) => (isAt(route) ? methods : []));
}

/** HEAD goes with each GET. */
function listOf(routes: Routes): string {
  const named = [...routes].map(
    ([route, methods]) => `${methods.filter((one) => one !== "HEAD").join(" and ")} ${route}`,
  );
  return named.join(", ");
}
