/* The loops that benchmarks/compiled.py compares with: what a programmer writes for these two models and no others. */
#include <stdint.h>
#include <string.h>

/* LIF neurons: x [steps, n], s [steps, n]. */
void lif_by_hand(int steps, int n, float decay, const float* restrict x, float* restrict v,
                 float* restrict refrac_count, uint8_t* restrict s) {
  for (int t = 0; t < steps; t++, x += n, s += n) {
    for (int j = 0; j < n; j++) {
      const float drive = refrac_count[j] > 0.0f ? 0.0f : x[j];
      const float now = decay * (v[j] + 65.0f) - 65.0f + drive;
      const float count = refrac_count[j] - 1.0f;
      const int fired = now >= -52.0f;
      refrac_count[j] = fired ? 5.0f : count;
      v[j] = fired ? -65.0f : now;
      s[j] = (uint8_t)fired;
    }
  }
}

/* Diehl & Cook: w [inputs, n], x [steps, inputs], noise [steps, n]; `state` has 7 arrays, `drive` is scratch memory. */
void diehl_cook_by_hand(int steps, int inputs, int n, float decay, float inh_decay, const float* restrict w,
                        const float* restrict x, const float* restrict noise, float* const* state,
                        uint8_t* restrict exc_s, uint8_t* restrict inh_s, float* restrict drive) {
  float* restrict v = state[0], * restrict count = state[1], * restrict inh_v = state[2], * restrict inh_count = state[3];
  float* restrict last_x = state[4], * restrict last_exc = state[5], * restrict last_inh = state[6];
  for (int t = 0; t < steps; t++, x += inputs, noise += n, exc_s += n, inh_s += n) {
    memset(drive, 0, (size_t)n * sizeof *drive);
    for (int i = 0; i < inputs; i++) {
      if (last_x[i] != 0.0f) {
        const float* row = w + (size_t)i * (size_t)n;
        for (int j = 0; j < n; j++) {
          drive[j] += row[j];
        }
      }
    }
    float sum = 0.0f;
    for (int j = 0; j < n; j++) {
      sum += last_inh[j];
    }
    int any = 0;
    for (int j = 0; j < n; j++) {
      const float d = drive[j] - 17.5f * (sum - last_inh[j]);
      const float now = decay * (v[j] + 65.0f) - 65.0f + (count[j] <= 0.0f ? d : 0.0f);
      const float left = count[j] - 1.0f;
      const int fired = now >= -52.0f;
      count[j] = fired ? 5.0f : left;
      v[j] = fired ? -60.0f : now;
      exc_s[j] = (uint8_t)fired;
      any |= fired;
    }
    if (any) {
      int best = -1;
      for (int j = 0; j < n; j++) {
        if (exc_s[j] && (best < 0 || noise[j] > noise[best])) {
          best = j;
        }
      }
      memset(exc_s, 0, (size_t)n);
      exc_s[best] = 1;
    }
    for (int j = 0; j < n; j++) {
      const float d = inh_count[j] > 0.0f ? 0.0f : 22.5f * last_exc[j];
      const float now = inh_decay * (inh_v[j] + 60.0f) - 60.0f + d;
      const float left = inh_count[j] - 1.0f;
      const int fired = now >= -40.0f;
      inh_count[j] = fired ? 2.0f : left;
      inh_v[j] = fired ? -45.0f : now;
      inh_s[j] = (uint8_t)fired;
    }
    for (int j = 0; j < n; j++) {
      last_exc[j] = exc_s[j];
      last_inh[j] = inh_s[j];
    }
    memcpy(last_x, x, (size_t)inputs * sizeof *x);
  }
}
