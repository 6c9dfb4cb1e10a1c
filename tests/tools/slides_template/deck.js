// Starts a deck: formulas and diagrams are drawn first, then every slide is made to fit its page.
const HEIGHT = 720;
const SMALLEST = 22; // letters below this cannot be read from the last row
const LOWEST_PICTURE = 220;
const CONTROLS = 56; // pixels at the bottom, for arrows and number

// Pictures give way first, then letters; what is still too long then is marked for the tests.
function fit(slide) {
  if (!slide || slide.dataset.fitted) return;
  const listings = [...slide.querySelectorAll("pre:not(.mermaid)")];
  const cut = () => listings.some((one) => one.scrollWidth > one.clientWidth + 1);
  const bottom = () => Math.max(...[...slide.children].map((one) => one.offsetTop + one.offsetHeight));
  const tooLong = () => bottom() > HEIGHT - CONTROLS || slide.scrollWidth > 1281;
  const pictures = [...slide.querySelectorAll("img, pre.mermaid svg")];
  for (let high = 560; tooLong() && pictures.length && high >= LOWEST_PICTURE; high -= 20) {
    for (const picture of pictures) picture.style.maxHeight = `${high}px`;
  }
  for (let size = 29; tooLong() && size >= SMALLEST; size -= 1) slide.style.fontSize = `${size}px`;
  for (let size = 21; (tooLong() || cut()) && size >= 15; size -= 1) {
    for (const listing of listings) listing.style.fontSize = `${size}px`;
  }
  slide.dataset.fitted = tooLong() || cut() ? "too long" : "yes";
}

// A diagram is drawn outside of its slide, which is still hidden, and then put into it.
async function draw(element, number) {
  const text = document.createElement("textarea");
  text.innerHTML = element.innerHTML.replace(/<br\s*\/?>/gi, "&lt;br/&gt;");
  const { svg } = await mermaid.render(`diagram-${number}`, text.value.trim());
  element.innerHTML = svg;
}

async function start() {
  const notes = document.querySelectorAll("aside.notes");
  mermaid.initialize({ startOnLoad: false, theme: "neutral", flowchart: { useMaxWidth: true } });
  for (const [number, element] of [...document.querySelectorAll("pre.mermaid")].entries()) {
    await draw(element, number);
  }
  await MathJax.startup.promise;
  await MathJax.typesetPromise([document.querySelector(".slides")]);
  for (const note of notes) note.querySelectorAll("a").forEach((link) => link.removeAttribute("href"));
  await Reveal.initialize({
    width: 1280, height: HEIGHT, margin: 0.02, center: false, hash: true, transition: "none",
    slideNumber: "c/t", controls: true, progress: true, plugins: [RevealNotes], pdfSeparateFragments: false,
  });
  Reveal.on("slidechanged", (event) => fit(event.currentSlide));
  fit(Reveal.getCurrentSlide());
  document.documentElement.dataset.deck = "ready";
}

start().catch((error) => {
  document.documentElement.dataset.deck = `failed: ${error.message || error.str || error}`;
  throw error;
});
