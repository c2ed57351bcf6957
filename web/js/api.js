// What the pack's routes answer. Names of runs go into addresses only here, and always encoded.

import { api } from "../../../scripts/api.js"

const RUNS = "/gan_studio/runs"
const EVENT = "gan_studio.training"

function routeOf(run, rest = "") {
  return `${RUNS}/${encodeURIComponent(run)}${rest}`
}

async function asked(route, options) {
  const answer = await api.fetchApi(route, options)
  const told = await answer.json().catch(() => ({}))
  if (!answer.ok) throw Object.assign(new Error(told.error ?? answer.statusText), { status: answer.status })
  return told
}

// Summaries of all runs, the latest first; of those at work alone with `live`.
export async function listRuns(live = false) {
  return (await asked(live ? `${RUNS}?live=1` : RUNS)).runs
}

export function getRun(run) {
  return asked(routeOf(run))
}

export function getRecords(run, since) {
  return asked(routeOf(run, `/records?since=${since}`))
}

// action: finish, save, pause or resume, answered with the snapshot; or trash.
export function steer(run, action) {
  const body = JSON.stringify({ action })
  return asked(routeOf(run), { method: "POST", headers: { "Content-Type": "application/json" }, body })
}

// A sheet of a run's film as a Blob.
export async function getSheet(run, images) {
  const answer = await api.fetchApi(routeOf(run, `/sheets/${images}`))
  if (!answer.ok) throw new Error(answer.statusText)
  return answer.blob()
}

// Address of a sheet, for an image of the page.
export function sheetAddress(run, images) {
  return api.apiURL(routeOf(run, `/sheets/${images}`))
}

// workflow and prompt that a run was started from, of which one may be null.
export function getGraph(run) {
  return asked(routeOf(run, "/graph"))
}

// Moves a run into the trash. Answers with `kept`: where it lies there.
export function trash(run) {
  return steer(run, "trash")
}

// Calls a listener with every news of any training.
export function onTraining(listener) {
  api.addEventListener(EVENT, ({ detail }) => listener(detail))
}
