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

// action: finish, save, pause or resume. Answers with the snapshot.
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

// Calls a listener with every news of any training.
export function onTraining(listener) {
  api.addEventListener(EVENT, ({ detail }) => listener(detail))
}
