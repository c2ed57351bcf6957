// What the page knows of each run. It outlives the elements that show it: they come and go with workflows and modes.

import { getRecords, getRun, getSheet } from "./api.js?v=0.1.0"

const RECORDS_EVERY = 2000 // milliseconds
const MAX_POINTS = 4000 // after which the curves are fetched again, thinned
const MAX_SHEETS = 600 // that are kept in memory, as the JPEG files they are

const runs = new Map()

// The one Run of a name.
export function runOf(name) {
  if (!runs.has(name)) runs.set(name, new Run(name))
  return runs.get(name)
}

export class Run extends EventTarget {
  constructor(name) {
    super()
    this.name = name
    this.snapshot = null
    this.missing = false
    this.sheets = []
    this.records = emptyRecords()
    this.blobs = new Map()
    this.fetching = null
    this.recordsAt = -Infinity
    this.waiting = null
  }

  // Fetches all that the run's folder tells. Where there is no such run, it is `missing`.
  refresh() {
    this.fetching ??= this.fetchAll().finally(() => {
      this.fetching = null
    })
    return this.fetching
  }

  async fetchAll() {
    try {
      this.take(await getRun(this.name))
    } catch (error) {
      this.missing = error.status === 404
      if (this.missing) this.reset()
    }
    this.changed()
  }

  // An event: the snapshot without its charts, and with the number of its sheets.
  hear(event) {
    const { sheet, sheets, ...told } = event
    const known = this.snapshot
    this.missing = false
    this.snapshot = { ...known, ...told }
    if (sheet != null && sheet !== this.sheets.at(-1)) {
      if (sheets === this.sheets.length + 1) this.sheets = [...this.sheets, sheet]
      else this.refresh()
    }
    const complete = known?.charts?.length && this.sheets.length === sheets
    if ((!complete && told.state !== "starting") || known?.live !== told.live) this.refresh()
    this.updateRecords()
    this.changed()
  }

  take(snapshot) {
    this.missing = false
    this.sheets = snapshot.sheets
    this.snapshot = snapshot
    this.updateRecords()
  }

  // Fetches the records that are new, at most every RECORDS_EVERY.
  updateRecords() {
    const { records = 0, rollbacks = 0 } = this.snapshot
    const known = this.records
    if (known.rollbacks !== rollbacks || known.total > records || known.images.length > MAX_POINTS)
      this.records = emptyRecords(rollbacks)
    if (this.waiting !== null || records <= this.records.total) return
    const wait = Math.max(0, this.recordsAt + RECORDS_EVERY - performance.now())
    this.waiting = setTimeout(async () => {
      try {
        const into = this.records
        const told = await getRecords(this.name, into.total)
        if (into === this.records) join(into, told)
      } catch {
        // the next event tries again
      }
      this.waiting = null
      this.recordsAt = performance.now()
      this.changed()
    }, wait)
  }

  // Address of a sheet, from memory if it was shown before; null where it is gone.
  async sheet(images) {
    if (!this.blobs.has(images)) {
      this.blobs.set(images, getSheet(this.name, images).then((blob) => URL.createObjectURL(blob)))
      if (this.blobs.size > MAX_SHEETS) this.forget(this.blobs.keys().next().value)
    }
    try {
      return await this.blobs.get(images)
    } catch {
      this.blobs.delete(images)
      return null
    }
  }

  // A run of the same name that comes later has sheets and records of its own.
  reset() {
    for (const images of [...this.blobs.keys()]) this.forget(images)
    Object.assign(this, { snapshot: null, sheets: [], records: emptyRecords() })
  }

  forget(images) {
    const address = this.blobs.get(images)
    this.blobs.delete(images)
    address.then(URL.revokeObjectURL, () => {})
  }

  changed() {
    this.dispatchEvent(new Event("change"))
  }
}

function emptyRecords(rollbacks = 0) {
  return { rollbacks, total: 0, images: [], values: {} }
}

// Adds the records that are told to those that are known.
export function join(known, told) {
  const before = known.images.length
  known.images = known.images.concat(told.images)
  for (const name of new Set([...Object.keys(known.values), ...Object.keys(told.values)])) {
    const old = known.values[name] ?? new Array(before).fill(null)
    known.values[name] = old.concat(told.values[name] ?? new Array(told.images.length).fill(null))
  }
  known.total = told.total
}
