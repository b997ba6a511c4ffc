// What the organisation has, under the names people gave it.

import { read, readAll } from "./session.js";

const NOT_YOURS = [403, 404];

/** What a role may not read is as good as not there. */
export async function ifAllowed(asking, otherwise) {
  try {
    return await asking;
  } catch (error) {
    if (NOT_YOURS.includes(error.status)) return otherwise;
    throw error;
  }
}

/** The projects in use, oldest first. */
export async function projects() {
  return (await readAll("/projects")).filter((project) => project.status === "active");
}

/** The keys one may see of these projects, each with its `project`. */
export async function keysOf(found) {
  const lists = found.map(async (project) => {
    const keys = await ifAllowed(readAll(`/projects/${project.id}/api_keys`), []);
    return keys.map((key) => ({ ...key, project }));
  });
  return (await Promise.all(lists)).flat();
}

/** Gives the name for an id of a key or project; one that has ended keeps its id. */
export function namer(found) {
  const names = new Map(found.map(({ id, name }) => [id, name]));
  return (id) => names.get(id) ?? `${id} (ended)`;
}

/** All buckets of a page of usage or costs, from `start` until now, a day each. */
export async function days(path, start, groups) {
  const found = [];
  for (let page; ; ) {
    const answer = await read(path, {
      start_time: start,
      bucket_width: "1d",
      limit: 31,
      group_by: groups,
      page,
    });
    found.push(...answer.data);
    if (!answer.has_more) return found;
    page = answer.next_page;
  }
}

/** Names of the models that the server shows to everybody; none where it shows none. */
export async function publicModels() {
  const response = await fetch("/public/v1/models");
  if (!response.ok) return [];
  return (await response.json()).data.map((model) => model.id);
}
