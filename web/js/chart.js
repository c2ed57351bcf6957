// Curves on a canvas, with axes that can be read. It draws when something has changed and it can be seen, not otherwise.

import { short } from "./texts.js?v=0.1.0"

export const COLOURS = ["#4a97e0", "#e2813a", "#43ab86", "#b878d6", "#d9606b"]

const MARGIN = { left: 40, right: 10, top: 8, bottom: 20 }
const OUTLIERS = 0.01 // share of the values above and below that do not stretch the axis
const FEW = 50 // values of which all are in the axis

export class Chart {
  constructor(canvas, unit) {
    this.canvas = canvas
    this.unit = unit
    this.images = []
    this.lines = []
    this.at = null // index of the point under the pointer
    this.draws = 0
    this.waiting = false
    this.onPoint = () => {}
    canvas.addEventListener("pointermove", (event) => this.point(event))
    canvas.addEventListener("pointerleave", () => this.point(null))
  }

  // images: [N]. lines: {values: [N] with null where there is none, colour, end} each. end: index of the last point that
  // a line could have one at, where that is before the others' last.
  show(images, lines) {
    this.images = images
    this.lines = lines
    if (this.at !== null && this.at >= images.length) this.at = null
    this.schedule()
  }

  point(event) {
    const before = this.at
    this.at = event && this.images.length ? this.nearest(event) : null
    if (this.at === before) return
    this.onPoint(this.at)
    this.schedule()
  }

  nearest(event) {
    const { left, width } = this.canvas.getBoundingClientRect()
    const scale = width / this.canvas.clientWidth || 1 // the canvas of ComfyUI zooms by a transform
    const x = (event.clientX - left) / scale
    const [first, last] = this.range()
    const images = first + ((x - MARGIN.left) / this.inner().width) * (last - first)
    return indexOf(this.images, images)
  }

  schedule() {
    if (this.waiting) return
    this.waiting = true
    requestAnimationFrame(() => {
      this.waiting = false
      if (this.canvas.isConnected && this.canvas.clientWidth) this.draw()
    })
  }

  inner() {
    const { clientWidth, clientHeight } = this.canvas
    return {
      width: Math.max(1, clientWidth - MARGIN.left - MARGIN.right),
      height: Math.max(1, clientHeight - MARGIN.top - MARGIN.bottom),
    }
  }

  range() {
    const first = this.images.length > 1 ? Math.min(this.images[0], this.images.at(-1) * 0.02) : 0
    return [first, Math.max(first + 1, this.images.at(-1) ?? 1)]
  }

  draw() {
    this.draws += 1
    const { clientWidth: width, clientHeight: height } = this.canvas
    const ratio = Math.min(3, window.devicePixelRatio || 1) * 1.5 // sharp also where the graph is zoomed in
    if (this.canvas.width !== Math.round(width * ratio) || this.canvas.height !== Math.round(height * ratio)) {
      this.canvas.width = Math.round(width * ratio)
      this.canvas.height = Math.round(height * ratio)
    }
    const context = this.canvas.getContext("2d")
    context.setTransform(ratio, 0, 0, ratio, 0, 0)
    context.clearRect(0, 0, width, height)
    const style = getComputedStyle(this.canvas)
    const text = style.color
    context.font = `10px ${style.fontFamily}`

    const inner = this.inner()
    const [first, last] = this.range()
    const [low, high] = axisOf(this.lines.map((line) => line.values))
    const x = (images) => MARGIN.left + ((images - first) / (last - first)) * inner.width
    const y = (value) => MARGIN.top + (1 - (value - low) / (high - low)) * inner.height

    context.lineWidth = 1
    context.textBaseline = "middle"
    context.textAlign = "right"
    for (const value of ticks(low, high, Math.max(2, Math.floor(inner.height / 26)))) {
      line(context, text, value === 0 ? 0.4 : 0.14, MARGIN.left, y(value), MARGIN.left + inner.width, y(value))
      label(context, text, short(value), MARGIN.left - 6, y(value))
    }
    context.textBaseline = "alphabetic"
    const marks = ticks(first / 1000, last / 1000, Math.max(2, Math.floor(inner.width / 60)))
    for (const kimg of marks) {
      const place = x(1000 * kimg)
      if (place > MARGIN.left + inner.width - 34) continue // where the unit stands
      context.textAlign = "center"
      label(context, text, short(kimg), place, height - 5)
    }
    context.textAlign = "right"
    label(context, text, this.unit, MARGIN.left + inner.width, height - 5)

    context.save()
    context.beginPath()
    context.rect(MARGIN.left, MARGIN.top - 2, inner.width + 2, inner.height + 4)
    context.clip()
    for (const { values, colour } of this.lines) curve(context, colour, this.images, values, x, y)
    context.restore()
    if (this.at !== null) this.drawPoint(context, text, x, y, inner)
  }

  drawPoint(context, text, x, y, inner) {
    const place = x(this.images[this.at])
    line(context, text, 0.5, place, MARGIN.top, place, MARGIN.top + inner.height)
    for (const { values, colour, end = Infinity } of this.lines) {
      const value = lastKnown(values, this.at)
      if (value === null || this.at > end) continue
      context.fillStyle = colour
      context.beginPath()
      context.arc(place, Math.min(MARGIN.top + inner.height, Math.max(MARGIN.top, y(value))), 3, 0, 2 * Math.PI)
      context.fill()
    }
  }
}

function line(context, colour, alpha, x0, y0, x1, y1) {
  context.globalAlpha = alpha
  context.strokeStyle = colour
  context.lineWidth = 1
  context.beginPath()
  context.moveTo(x0, Math.round(y0) + 0.5)
  context.lineTo(x1, Math.round(y1) + 0.5)
  context.stroke()
  context.globalAlpha = 1
}

function label(context, colour, text, x, y) {
  context.globalAlpha = 0.75
  context.fillStyle = colour
  context.fillText(text, x, y)
  context.globalAlpha = 1
}

// A curve through the points that there are; rare ones, such as KID, as dots too.
function curve(context, colour, images, values, x, y) {
  const known = []
  for (let i = 0; i < values.length; i++) if (values[i] !== null) known.push(i)
  context.strokeStyle = context.fillStyle = colour
  context.lineWidth = 1.5
  context.lineJoin = "round"
  context.beginPath()
  known.forEach((i, n) => (n ? context.lineTo(x(images[i]), y(values[i])) : context.moveTo(x(images[i]), y(values[i]))))
  context.stroke()
  if (known.length > 40) return
  for (const i of known) {
    context.beginPath()
    context.arc(x(images[i]), y(values[i]), 2, 0, 2 * Math.PI)
    context.fill()
  }
}

// The value at a point, or the last one before it; null where there is none.
export function lastKnown(values, at = values.length - 1) {
  for (let i = Math.min(at, values.length - 1); i >= 0; i--) if (values[i] !== null) return values[i]
  return null
}

// Index of the number in an ascending list that is nearest.
export function indexOf(list, number) {
  let low = 0
  let high = list.length - 1
  while (low < high) {
    const middle = (low + high) >> 1
    if (list[middle] < number) low = middle + 1
    else high = middle
  }
  return low > 0 && number - list[low - 1] < list[low] - number ? low - 1 : low
}

// The lowest and highest value of an axis. Of many values, single ones far out are left to leave it.
export function axisOf(columns) {
  const sorted = columns.flat().filter((value) => value !== null).sort((a, b) => a - b)
  if (!sorted.length) return [0, 1]
  const out = sorted.length > FEW ? Math.floor(OUTLIERS * sorted.length) : 0
  let [low, high] = [sorted[out], sorted[sorted.length - 1 - out]]
  if (high - low < 1e-9 * Math.max(1, Math.abs(high))) [low, high] = [low - 0.5, high + 0.5]
  if (low > 0 && low < 0.5 * high) low = 0
  const room = 0.06 * (high - low)
  return [low === 0 ? 0 : low - room, high + room]
}

// Round numbers between two values, about as many as wanted.
export function ticks(low, high, wanted) {
  const rough = (high - low) / wanted
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power
  const found = []
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + 1e-9 * step; n++) found.push(n === 0 ? 0 : n * step)
  return found
}
