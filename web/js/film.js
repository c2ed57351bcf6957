// The samples of a run, large, and a slider over all its sheets that plays as a film.

import { filled, kimgOf } from "./texts.js?v=0.1.0"
import { indexOf } from "./chart.js?v=0.1.0"
import { element } from "./elements.js?v=0.1.0"

const FRAMES_PER_SECOND = 12
const MAX_FRAMES = 150 // of a film that is played: it lasts some 12 s, however long the run was
const AHEAD = 8 // sheets that are fetched before they are shown

export class Film {
  constructor(words) {
    this.words = words
    this.run = null
    this.sheets = []
    this.chosen = null // images of the sheet that a person has chosen; null for the latest
    this.shown = null
    this.wanted = null
    this.playing = null
    this.shows = 0

    this.picture = element("img", { className: "gan-sheet", draggable: false, alt: "" })
    this.play = element("button", { className: "gan-play", type: "button" })
    this.slider = element("input", { type: "range", className: "gan-slider", min: 0, step: 1 })
    this.slider.setAttribute("aria-label", words.slider)
    this.label = element("output", { className: "gan-when" })
    this.frame = element("div", { className: "gan-frame" }, this.picture)
    this.bar = element("div", { className: "gan-bar" }, this.play, this.slider, this.label)

    this.play.addEventListener("click", () => (this.playing === null ? this.start() : this.pause()))
    this.slider.addEventListener("input", () => {
      this.pause()
      this.choose(Number(this.slider.value))
    })
    this.drawPlay()
  }

  get place() {
    return this.chosen === null ? this.sheets.length - 1 : indexOf(this.sheets, this.chosen)
  }

  // Shows the sheets of a run: the latest, unless another one was chosen.
  follow(run) {
    if (run !== this.run) {
      this.pause()
      Object.assign(this, { run, chosen: null, shown: null, wanted: null })
      this.picture.removeAttribute("src")
    }
    if (run.sheets === this.sheets) return
    this.sheets = run.sheets
    this.frame.classList.toggle("gan-empty", !this.sheets.length)
    this.bar.classList.toggle("gan-hidden", this.sheets.length < 2)
    if (this.sheets.length) this.draw()
  }

  choose(place) {
    this.chosen = place >= this.sheets.length - 1 ? null : this.sheets[place]
    this.draw()
  }

  draw() {
    const { place } = this
    const images = this.sheets[place]
    const when = filled(this.words.kimg, { kimg: kimgOf(images) })
    this.slider.max = this.sheets.length - 1
    this.slider.value = place
    this.slider.style.setProperty("--gan-at", `${(100 * place) / Math.max(1, this.sheets.length - 1)}%`)
    this.slider.setAttribute("aria-valuetext", when)
    this.label.textContent = when
    this.show(images)
  }

  async show(images) {
    if (this.wanted === images) return
    this.wanted = images
    const { run } = this
    const address = await run.sheet(images)
    if (run !== this.run || this.wanted !== images) return // another one was chosen meanwhile
    if (address === null) {
      this.wanted = null
      run.refresh() // the film was thinned
      return
    }
    this.shows += 1
    this.shown = images
    this.picture.src = address
    this.picture.alt = filled(this.words.sheet, { kimg: kimgOf(images) })
    this.picture.classList.toggle("gan-pixels", await isSmall(this.picture))
  }

  start() {
    const step = Math.max(1, Math.ceil(this.sheets.length / MAX_FRAMES))
    let place = this.chosen === null || this.place >= this.sheets.length - 1 ? 0 : this.place
    const next = async () => {
      if (!this.picture.isConnected) return this.pause()
      this.chosen = this.sheets[place]
      this.draw()
      for (let ahead = 1; ahead <= AHEAD; ahead++) {
        const images = this.sheets[place + ahead * step]
        if (images !== undefined) this.run.sheet(images)
      }
      await this.run.sheet(this.sheets[place])
      if (this.playing === null) return undefined
      if (place >= this.sheets.length - 1) {
        this.chosen = null
        return this.pause()
      }
      place = Math.min(place + step, this.sheets.length - 1)
      this.playing = setTimeout(next, 1000 / FRAMES_PER_SECOND)
      return undefined
    }
    this.playing = setTimeout(next)
    this.drawPlay()
  }

  pause() {
    clearTimeout(this.playing)
    this.playing = null
    this.drawPlay()
  }

  drawPlay() {
    const name = this.playing === null ? this.words.play : this.words.stop
    this.play.classList.toggle("gan-playing", this.playing !== null)
    this.play.title = name
    this.play.setAttribute("aria-label", name)
  }
}

// Whether the pixels of a sheet are enlarged, and should stay sharp.
async function isSmall(picture) {
  try {
    await picture.decode()
  } catch {
    return false
  }
  return picture.naturalWidth < 320
}
