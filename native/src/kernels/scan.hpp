// The running argmax over logits.

namespace headrace::HEADRACE_ISA {
namespace {

void scan(const float* logits, std::size_t count, std::size_t first_id, ArgmaxLanes* state) {
  F best = load(state->best);
  F id = load(state->id);
  F poison = load(state->poison);
  for (std::size_t i = 0; i < count; i += 16) {
    F value = load(logits + i);
    if (count - i < 16) {  // the vocabulary ends inside this block: the rest does not exist
      const M real = gt(splat(static_cast<float>(count - i)), lanes());
      poison = fma(select(real, value, splat(0.0f)), splat(0.0f), poison);
      value = select(real, value, splat(-__builtin_inff()));
    } else {
      poison = fma(value, splat(0.0f), poison);
    }
    const M better = gt(value, best);
    best = select(better, value, best);
    id = select(better, add(splat(static_cast<float>(first_id + i)), lanes()), id);
  }
  store(state->best, best);
  store(state->id, id);
  store(state->poison, poison);
}

}  // namespace
}  // namespace headrace::HEADRACE_ISA
