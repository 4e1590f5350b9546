/* reservoir_srm0: one step of 1 ms. Written by deploy-snn 0.2.0.
   Compile it with -ffp-contract=off and without -ffast-math, and the results are those of torch, to the bit. */
#include "model.h"

#if defined(__GNUC__) && !defined(__clang__)
/* Otherwise gcc puts branches into the loops over neurons, and gathers into those over weights. */
#pragma GCC optimize ("no-thread-jumps", "no-loop-unroll-and-jam")
#endif

#include <math.h>
#include <string.h>

static const int32_t X_to_reservoir_first[17] = {
    0, 2, 5, 7, 10, 14, 15, 17, 18, 19, 21, 24, 29, 31, 34, 37, 38,
};
static const int32_t X_to_reservoir_target[38] = {
    24, 28, 0, 1, 15, 21, 23, 4, 18, 21, 10, 11, 18, 19, 20, 7, 10, 10, 26, 12, 21, 0, 16, 29,
    2, 7, 12, 18, 27, 4, 23, 14, 16, 19, 5, 14, 22, 15,
};
static const float X_to_reservoir_w[38] = {
    0.31500244f, 10.385193f, 7.5061035f, 10.7664795f, 5.6329346f, 5.6156006f, 1.1640625f, 3.3691406f,
    3.0340576f, 3.1154785f, 1.656311f, 11.913635f, 0.9020386f, 8.9904175f, 7.31781f, 6.825989f,
    9.151245f, 8.477173f, 6.468384f, 9.986816f, 5.795044f, 0.0423584f, 11.930969f, 1.0559692f,
    0.1430664f, 0.274292f, 9.069458f, 4.888794f, 10.637512f, 7.7806396f, 7.048645f, 0.19665527f,
    0.18786621f, 4.596863f, 5.627075f, 0.59350586f, 4.8693237f, 4.4068604f,
};
static const int32_t X_to_reservoir_first_2[31] = {
    0, 3, 5, 8, 11, 14, 22, 23, 25, 28, 31, 32, 34, 38, 38, 44, 48, 51, 52, 55, 61, 64, 66, 68,
    72, 73, 77, 79, 80, 82, 85,
};
static const int32_t X_to_reservoir_target_2[85] = {
    2, 12, 27, 5, 13, 17, 20, 23, 4, 14, 25, 4, 9, 24, 0, 1, 5, 12, 13, 18, 24, 29, 8, 9,
    14, 5, 7, 16, 2, 5, 12, 10, 0, 1, 1, 2, 7, 14, 5, 19, 20, 21, 24, 29, 8, 10, 25, 26,
    2, 16, 20, 23, 10, 11, 20, 7, 11, 12, 21, 22, 26, 0, 23, 28, 7, 24, 10, 27, 5, 12, 22, 23,
    7, 0, 12, 21, 29, 0, 7, 24, 15, 19, 2, 11, 26,
};
static const float X_to_reservoir_w_2[85] = {
    2.864624f, 1.7420044f, 0.32873535f, 2.4190063f, 1.765625f, 2.822876f, 1.0645142f, 0.6833496f,
    2.5159912f, 1.1773071f, 2.3389282f, 1.3948975f, 2.5353394f, 2.2207031f, 1.2175293f, 0.83703613f,
    1.3643799f, 2.1252441f, 2.9400024f, 2.0879517f, 2.9673462f, 1.6502075f, 1.4075928f, 0.9220581f,
    0.08557129f, 0.06274414f, 0.33874512f, 0.8309326f, 0.42474365f, 1.526123f, 2.711914f, 0.83251953f,
    2.7248535f, 2.9732666f, 1.6569214f, 2.7805176f, 2.991394f, 1.1791992f, 2.4865723f, 1.9130249f,
    0.55578613f, 1.8757324f, 0.9572754f, 2.9452515f, 2.0673218f, 2.3269043f, 1.7595215f, 1.6212769f,
    1.4180908f, 1.9390259f, 1.6298828f, 0.8925171f, 2.590088f, 2.71167f, 0.8165283f, 0.7776489f,
    2.6118164f, 1.5217285f, 2.1260376f, 2.2965088f, 1.1875f, 2.710022f, 0.90734863f, 1.3607788f,
    1.9833374f, 1.3596191f, 0.10241699f, 2.0999756f, 1.5070801f, 2.293518f, 0.9283447f, 1.8843384f,
    -8.309753f, -8.314209f, -7.3132324f, -8.088928f, -3.1435547f, -0.43151855f, -9.058838f, -9.247925f,
    -4.2683105f, -9.353699f, -4.1210938f, -6.960327f, -9.1866455f,
};
static const float reservoir_to_readout_w[300] = {
    3.0269775f, -0.7545166f, 3.3760986f, -0.29632568f, 2.4186401f, 1.4050903f, 3.7196655f, 4.9157104f,
    2.6760864f, 1.9143677f, 0.5136719f, 3.1185303f, 0.5560303f, 3.2391968f, 0.69970703f, 4.034912f,
    4.3010864f, 3.8395386f, 2.0300293f, 3.3912354f, -0.7337036f, 4.4329224f, 1.220581f, 3.093689f,
    1.4920044f, 0.99261475f, 0.5911865f, 3.9350586f, 0.3678589f, 1.4709473f, 3.5133667f, 2.3023682f,
    -0.5241699f, -0.9831543f, 0.5415039f, 4.766968f, -0.13305664f, 3.6533813f, 4.147461f, 0.75653076f,
    0.6751709f, -0.1583252f, 2.4679565f, 1.5806274f, 2.145752f, 3.3012695f, 3.2595215f, 1.0535278f,
    2.2060547f, 2.7126465f, 2.0638428f, 2.6003418f, 0.784729f, 4.4590454f, 1.6922607f, 1.6161499f,
    -0.6925659f, -0.17462158f, 2.0933228f, 1.5360107f, 0.49163818f, 3.5703735f, 1.7314453f, 3.0550537f,
    4.5267944f, 0.6207886f, 0.52349854f, 1.3971558f, 1.7459717f, 0.49951172f, 1.2797241f, 1.9135132f,
    3.3457031f, 4.7755127f, 4.2214966f, 2.317505f, 1.8109741f, 2.7684326f, 1.8775635f, 1.6062622f,
    3.0316162f, -0.4407959f, -0.55133057f, 2.012146f, 1.0906982f, 0.5161133f, -0.7928467f, 4.0095825f,
    1.8804932f, 0.3881836f, 0.7779541f, 2.7886963f, -0.17572021f, 2.192688f, 1.9630127f, 3.0219727f,
    3.1900635f, 0.039855957f, 3.2953491f, 4.265381f, 2.1931152f, 3.5283813f, 0.8642578f, 2.5958862f,
    2.876587f, 0.6143799f, 3.852234f, -0.8364868f, 0.8731079f, 0.23486328f, 0.21911621f, 0.1821289f,
    -0.82684326f, 2.5148315f, 1.4065552f, -0.526062f, 1.9987793f, 1.5002441f, 3.2376099f, -0.34985352f,
    1.1560059f, 2.6174927f, 3.2716675f, 2.2269287f, 2.8129883f, 4.9989014f, 0.9607544f, 4.0446167f,
    4.5841675f, -0.6538696f, 2.725708f, 3.6993408f, 1.5320435f, 3.6557007f, 2.1020508f, 4.2838745f,
    2.0645752f, 0.0793457f, 4.2783203f, 2.892212f, 4.552307f, 2.744751f, 3.5930176f, 3.8705444f,
    2.505188f, 1.3026123f, 2.619629f, -0.09173584f, 2.102478f, 1.0357666f, 2.1896973f, -0.37530518f,
    3.8330688f, -0.76782227f, 3.284729f, 3.975708f, -0.7495117f, 4.7105103f, -0.23016357f, 1.4108887f,
    3.5545654f, 1.048706f, 4.673584f, 0.6765137f, 1.5983276f, 0.03894043f, 0.60821533f, 4.9275513f,
    4.2561646f, 2.2208862f, 2.246643f, -0.54577637f, 4.2648315f, 1.5502319f, 0.74871826f, -0.38745117f,
    4.4665527f, 3.4225464f, 3.8070068f, 2.310608f, -0.035705566f, 3.2288818f, 2.3460083f, 3.0067139f,
    1.2529907f, 0.5842285f, 4.4627686f, 3.0056763f, 0.78240967f, 2.2678833f, 1.3479004f, 1.7434692f,
    3.682251f, -0.38775635f, 4.715088f, 4.019165f, 2.0025635f, 0.7728882f, 2.6116943f, 0.014282227f,
    3.9486694f, 0.4133911f, 2.5732422f, -0.95147705f, 3.4366455f, 4.0308228f, 4.25177f, 2.244873f,
    3.7713013f, 3.0228882f, 4.011841f, 3.6929321f, -0.62475586f, 2.3162842f, 0.9772339f, 0.5675049f,
    4.0999146f, 1.5706177f, 2.4660034f, 3.888916f, 4.019348f, 3.6010132f, 1.4762573f, -0.67419434f,
    -0.87994385f, 2.9429932f, 1.9644165f, 0.10455322f, 3.3101807f, 4.7230835f, 3.7351074f, 1.5767822f,
    2.4053955f, 0.08642578f, 3.4159546f, -0.3248291f, 4.071167f, 0.62976074f, 0.81018066f, -0.5128174f,
    1.2745361f, 1.7098389f, 0.6171875f, 4.135559f, 3.7217407f, -0.6477051f, 1.6998901f, 3.008667f,
    4.894409f, 1.2826538f, 3.8417969f, 1.8319092f, 0.84936523f, 3.8358765f, -0.6732788f, 4.5134277f,
    4.99646f, 1.1809082f, 3.1850586f, 4.991638f, 2.90448f, 3.1732178f, 3.1015625f, 0.77264404f,
    2.7322998f, 0.401062f, 4.5617676f, 0.71447754f, 2.685791f, 1.1309814f, 3.5003052f, 2.0494385f,
    3.6495361f, 1.1876221f, 0.23956299f, 3.1502075f, 0.3116455f, -0.46307373f, 3.1590576f, 0.19567871f,
    0.8723755f, 1.2509155f, 2.2130127f, 0.96099854f, 0.9202881f, 1.2459717f, 4.102356f, 2.8982544f,
    0.55566406f, -0.07366943f, 2.069519f, 2.9611206f, 1.9371948f, 3.7561646f, 4.5233154f, 2.8792725f,
    2.98938f, 3.7404785f, 0.97229004f, 2.5321655f,
};
static const float reservoir_rest = -65.0f;
static const float reservoir_decay = 0.9672161f;
static const float reservoir_dt = 1.0f;
static const float reservoir_thresh = -52.0f;
static const float reservoir_reset = -65.0f;
static const float reservoir_refrac = 2.0f;
static const float readout_rest = -70.0f;
static const float readout_decay = 0.9048374f;
static const float readout_eps_0 = 1.0f;
static const float readout_thresh = -50.0f;
static const float readout_d_thresh = 5.0f;
static const float readout_rho_0 = 1.0f;
static const float readout_dt = 1.0f;
static const float readout_reset = -70.0f;
static const float readout_refrac = 5.0f;

/* List the indices of the inputs that are not 0. Returns their number. */
static int32_t listed_spike(int32_t *restrict list, const uint8_t *restrict z, int32_t n)
{
    int32_t count = 0;
    for (int32_t i = 0; i < n; i++) {
        list[count] = i;
        count += z[i] != 0;
    }
    return count;
}

/* The listed rows of w [., n], added up one after the other. */
static void add_rows(float *restrict out, const float *restrict w, int32_t n, const int32_t *restrict list, int32_t count)
{
    int32_t k = 0;
    memset(out, 0, (size_t)n * sizeof *out);
    for (; k + 4 <= count; k += 4) {
        const float *a = w + (size_t)list[k] * (size_t)n;
        const float *b = w + (size_t)list[k + 1] * (size_t)n;
        const float *c = w + (size_t)list[k + 2] * (size_t)n;
        const float *d = w + (size_t)list[k + 3] * (size_t)n;
        for (int32_t j = 0; j < n; j++) {
            out[j] = out[j] + a[j] + b[j] + c[j] + d[j];
        }
    }
    for (; k < count; k++) {
        const float *a = w + (size_t)list[k] * (size_t)n;
        for (int32_t j = 0; j < n; j++) {
            out[j] += a[j];
        }
    }
}

/* One step of one row. */
static void reservoir_srm0_row(
    reservoir_srm0_state *restrict state,
    const float *restrict X_x,
    const float *restrict readout_noise,
    uint8_t *restrict reservoir_s,
    uint8_t *restrict readout_s)
{
    (void)state;
    (void)X_x;
    (void)readout_noise;
    /* X_to_reservoir: each input that is not 0 adds its weights to its targets. */
    memset(state->work.X_to_reservoir_drive, 0, sizeof state->work.X_to_reservoir_drive);
    for (int32_t i = 0; i < 16; i++) {
        if (state->X_previous[i] != 0) {
            for (int32_t k = X_to_reservoir_first[i]; k < X_to_reservoir_first[i + 1]; k++) {
                state->work.X_to_reservoir_drive[X_to_reservoir_target[k]] += X_to_reservoir_w[k];
            }
        }
    }
    /* X_to_reservoir: each input that is not 0 adds its weights to its targets. */
    memset(state->work.X_to_reservoir_drive_2, 0, sizeof state->work.X_to_reservoir_drive_2);
    for (int32_t i = 0; i < 30; i++) {
        if (state->reservoir_previous[i] != 0) {
            for (int32_t k = X_to_reservoir_first_2[i]; k < X_to_reservoir_first_2[i + 1]; k++) {
                state->work.X_to_reservoir_drive_2[X_to_reservoir_target_2[k]] += X_to_reservoir_w_2[k];
            }
        }
    }
    /* reservoir_to_readout: the weights of the inputs that are not 0, added up. */
    add_rows(state->work.reservoir_to_readout_drive, reservoir_to_readout_w, 10, state->work.list, listed_spike(state->work.list, state->reservoir_previous, 30));
    /* reservoir */
    for (int32_t i = 0; i < 30; i++) {
        const float new_reservoir_v = state->work.X_to_reservoir_drive[i] + state->work.X_to_reservoir_drive_2[i];
        const float new_reservoir_v_2 = reservoir_decay * (state->reservoir_v[i] - reservoir_rest) + reservoir_rest + (state->reservoir_refrac_count[i] > 0.0f ? 0.0f : new_reservoir_v);
        const float new_reservoir_refrac_count = state->reservoir_refrac_count[i] - reservoir_dt;
        const int new_reservoir_s = new_reservoir_v_2 >= reservoir_thresh;
        reservoir_s[i] = (uint8_t)(new_reservoir_s);
        state->reservoir_previous[i] = (uint8_t)(new_reservoir_s);
        state->reservoir_v[i] = new_reservoir_s ? reservoir_reset : new_reservoir_v_2;
        state->reservoir_refrac_count[i] = new_reservoir_s ? reservoir_refrac : new_reservoir_refrac_count;
    }
    /* X */
    for (int32_t i = 0; i < 16; i++) {
        state->X_previous[i] = (uint8_t)(X_x[i] != 0.0f);
    }
    /* readout */
    for (int32_t i = 0; i < 10; i++) {
        const float new_readout_v = readout_eps_0 * state->work.reservoir_to_readout_drive[i];
        const float new_readout_v_2 = readout_decay * (state->readout_v[i] - readout_rest) + readout_rest + (state->readout_refrac_count[i] <= 0.0f ? new_readout_v : 0.0f);
        const float new_readout_refrac_count = state->readout_refrac_count[i] - readout_dt;
        const int new_readout_s = readout_noise[i] < 1.0f - expf(-(readout_rho_0 * expf((new_readout_v_2 - readout_thresh) / readout_d_thresh)) * readout_dt);
        readout_s[i] = (uint8_t)(new_readout_s);
        state->readout_v[i] = new_readout_s ? readout_reset : new_readout_v_2;
        state->readout_refrac_count[i] = new_readout_s ? readout_refrac : new_readout_refrac_count;
    }
}

void reservoir_srm0_initial_state(reservoir_srm0_state *state)
{
    for (int32_t i = 0; i < 16; i++) {
        state->X_previous[i] = 0;
    }
    for (int32_t i = 0; i < 30; i++) {
        state->reservoir_v[i] = -65.0f;
    }
    for (int32_t i = 0; i < 30; i++) {
        state->reservoir_refrac_count[i] = 0.0f;
    }
    for (int32_t i = 0; i < 30; i++) {
        state->reservoir_previous[i] = 0;
    }
    for (int32_t i = 0; i < 10; i++) {
        state->readout_v[i] = -70.0f;
    }
    for (int32_t i = 0; i < 10; i++) {
        state->readout_refrac_count[i] = 0.0f;
    }
}

void reservoir_srm0_step(reservoir_srm0_state *state, const reservoir_srm0_inputs *inputs, const reservoir_srm0_outputs *outputs)
{
    reservoir_srm0_row(state, inputs->X_x, inputs->readout_noise, outputs->reservoir_s, outputs->readout_s);
}

void reservoir_srm0_run(reservoir_srm0_state *states, int32_t rows, int32_t steps, const reservoir_srm0_inputs *inputs, const reservoir_srm0_outputs *outputs)
{
    size_t at = 0;
    for (int32_t t = 0; t < steps; t++) {
        for (int32_t r = 0; r < rows; r++) {
            reservoir_srm0_row(
                &states[r],
                inputs->X_x + at * 16,
                inputs->readout_noise + at * 10,
                outputs->reservoir_s + at * 30,
                outputs->readout_s + at * 10);
            at++;
        }
    }
}

int reservoir_srm0_step_events(reservoir_srm0_state *state, const reservoir_srm0_events *events, const reservoir_srm0_outputs *outputs)
{
    reservoir_srm0_inputs inputs;
    for (int32_t i = 0; i < events->X_x_count; i++) {
        if (events->X_x[i] < 0 || events->X_x[i] >= 16) {
            return -1;
        }
    }
    for (int32_t i = 0; i < events->X_x_count; i++) {
        events->X_x_dense[events->X_x[i]] = 1.0f;
    }
    inputs.X_x = events->X_x_dense;
    inputs.readout_noise = events->readout_noise;
    reservoir_srm0_step(state, &inputs, outputs);
    for (int32_t i = 0; i < events->X_x_count; i++) {
        events->X_x_dense[events->X_x[i]] = 0.0f;
    }
    return 0;
}

size_t reservoir_srm0_state_size(void)
{
    return sizeof(reservoir_srm0_state);
}

void reservoir_srm0_store_state(const reservoir_srm0_state *states, int32_t rows, const reservoir_srm0_state_arrays *to)
{
    for (int32_t r = 0; r < rows; r++) {
        for (int32_t i = 0; i < 16; i++) {
            to->X_previous[(size_t)r * 16 + (size_t)i] = (float)states[r].X_previous[i];
        }
        for (int32_t i = 0; i < 30; i++) {
            to->reservoir_v[(size_t)r * 30 + (size_t)i] = states[r].reservoir_v[i];
        }
        for (int32_t i = 0; i < 30; i++) {
            to->reservoir_refrac_count[(size_t)r * 30 + (size_t)i] = states[r].reservoir_refrac_count[i];
        }
        for (int32_t i = 0; i < 30; i++) {
            to->reservoir_previous[(size_t)r * 30 + (size_t)i] = (float)states[r].reservoir_previous[i];
        }
        for (int32_t i = 0; i < 10; i++) {
            to->readout_v[(size_t)r * 10 + (size_t)i] = states[r].readout_v[i];
        }
        for (int32_t i = 0; i < 10; i++) {
            to->readout_refrac_count[(size_t)r * 10 + (size_t)i] = states[r].readout_refrac_count[i];
        }
    }
}

int reservoir_srm0_load_state(reservoir_srm0_state *states, int32_t rows, const reservoir_srm0_state_arrays *from)
{
    for (size_t i = 0; i < (size_t)rows * 16; i++) {
        if (from->X_previous[i] != 0 && from->X_previous[i] != 1) {
            return -1;
        }
    }
    for (size_t i = 0; i < (size_t)rows * 30; i++) {
        if (from->reservoir_previous[i] != 0 && from->reservoir_previous[i] != 1) {
            return -1;
        }
    }
    for (int32_t r = 0; r < rows; r++) {
        for (int32_t i = 0; i < 16; i++) {
            states[r].X_previous[i] = (uint8_t)from->X_previous[(size_t)r * 16 + (size_t)i];
        }
        for (int32_t i = 0; i < 30; i++) {
            states[r].reservoir_v[i] = from->reservoir_v[(size_t)r * 30 + (size_t)i];
        }
        for (int32_t i = 0; i < 30; i++) {
            states[r].reservoir_refrac_count[i] = from->reservoir_refrac_count[(size_t)r * 30 + (size_t)i];
        }
        for (int32_t i = 0; i < 30; i++) {
            states[r].reservoir_previous[i] = (uint8_t)from->reservoir_previous[(size_t)r * 30 + (size_t)i];
        }
        for (int32_t i = 0; i < 10; i++) {
            states[r].readout_v[i] = from->readout_v[(size_t)r * 10 + (size_t)i];
        }
        for (int32_t i = 0; i < 10; i++) {
            states[r].readout_refrac_count[i] = from->readout_refrac_count[(size_t)r * 10 + (size_t)i];
        }
    }
    return 0;
}

/* The contract, as JSON in ASCII. */
const char reservoir_srm0_contract[] = {
    123, 34, 99, 111, 110, 116, 114, 97, 99, 116, 95, 118, 101, 114, 115, 105, 111, 110, 34, 58, 50, 44, 34, 100,
    116, 34, 58, 49, 46, 48, 44, 34, 116, 101, 110, 115, 111, 114, 115, 34, 58, 91, 123, 34, 110, 97, 109, 101,
    34, 58, 34, 88, 46, 120, 34, 44, 34, 114, 111, 108, 101, 34, 58, 34, 100, 114, 105, 118, 101, 34, 44, 34,
    107, 105, 110, 100, 34, 58, 110, 117, 108, 108, 44, 34, 100, 116, 121, 112, 101, 34, 58, 34, 102, 108, 111, 97,
    116, 51, 50, 34, 44, 34, 97, 120, 101, 115, 34, 58, 91, 123, 34, 110, 97, 109, 101, 34, 58, 34, 98, 97,
    116, 99, 104, 34, 44, 34, 115, 105, 122, 101, 34, 58, 110, 117, 108, 108, 125, 44, 123, 34, 110, 97, 109, 101,
    34, 58, 34, 110, 101, 117, 114, 111, 110, 34, 44, 34, 115, 105, 122, 101, 34, 58, 49, 54, 125, 93, 44, 34,
    111, 119, 110, 101, 114, 34, 58, 34, 88, 34, 44, 34, 105, 110, 105, 116, 105, 97, 108, 34, 58, 34, 34, 44,
    34, 117, 110, 105, 116, 34, 58, 34, 109, 86, 34, 125, 44, 123, 34, 110, 97, 109, 101, 34, 58, 34, 88, 46,
    112, 114, 101, 118, 105, 111, 117, 115, 34, 44, 34, 114, 111, 108, 101, 34, 58, 34, 115, 116, 97, 116, 101, 34,
    44, 34, 107, 105, 110, 100, 34, 58, 34, 112, 114, 101, 118, 105, 111, 117, 115, 34, 44, 34, 100, 116, 121, 112,
    101, 34, 58, 34, 102, 108, 111, 97, 116, 51, 50, 34, 44, 34, 97, 120, 101, 115, 34, 58, 91, 123, 34, 110,
    97, 109, 101, 34, 58, 34, 98, 97, 116, 99, 104, 34, 44, 34, 115, 105, 122, 101, 34, 58, 110, 117, 108, 108,
    125, 44, 123, 34, 110, 97, 109, 101, 34, 58, 34, 110, 101, 117, 114, 111, 110, 34, 44, 34, 115, 105, 122, 101,
    34, 58, 49, 54, 125, 93, 44, 34, 111, 119, 110, 101, 114, 34, 58, 34, 88, 34, 44, 34, 105, 110, 105, 116,
    105, 97, 108, 34, 58, 34, 48, 34, 44, 34, 117, 110, 105, 116, 34, 58, 34, 34, 125, 44, 123, 34, 110, 97,
    109, 101, 34, 58, 34, 114, 101, 115, 101, 114, 118, 111, 105, 114, 46, 118, 34, 44, 34, 114, 111, 108, 101, 34,
    58, 34, 115, 116, 97, 116, 101, 34, 44, 34, 107, 105, 110, 100, 34, 58, 34, 112, 111, 116, 101, 110, 116, 105,
    97, 108, 34, 44, 34, 100, 116, 121, 112, 101, 34, 58, 34, 102, 108, 111, 97, 116, 51, 50, 34, 44, 34, 97,
    120, 101, 115, 34, 58, 91, 123, 34, 110, 97, 109, 101, 34, 58, 34, 98, 97, 116, 99, 104, 34, 44, 34, 115,
    105, 122, 101, 34, 58, 110, 117, 108, 108, 125, 44, 123, 34, 110, 97, 109, 101, 34, 58, 34, 110, 101, 117, 114,
    111, 110, 34, 44, 34, 115, 105, 122, 101, 34, 58, 51, 48, 125, 93, 44, 34, 111, 119, 110, 101, 114, 34, 58,
    34, 114, 101, 115, 101, 114, 118, 111, 105, 114, 34, 44, 34, 105, 110, 105, 116, 105, 97, 108, 34, 58, 34, 114,
    101, 115, 116, 34, 44, 34, 117, 110, 105, 116, 34, 58, 34, 109, 86, 34, 125, 44, 123, 34, 110, 97, 109, 101,
    34, 58, 34, 114, 101, 115, 101, 114, 118, 111, 105, 114, 46, 114, 101, 102, 114, 97, 99, 95, 99, 111, 117, 110,
    116, 34, 44, 34, 114, 111, 108, 101, 34, 58, 34, 115, 116, 97, 116, 101, 34, 44, 34, 107, 105, 110, 100, 34,
    58, 34, 99, 111, 117, 110, 116, 101, 114, 34, 44, 34, 100, 116, 121, 112, 101, 34, 58, 34, 102, 108, 111, 97,
    116, 51, 50, 34, 44, 34, 97, 120, 101, 115, 34, 58, 91, 123, 34, 110, 97, 109, 101, 34, 58, 34, 98, 97,
    116, 99, 104, 34, 44, 34, 115, 105, 122, 101, 34, 58, 110, 117, 108, 108, 125, 44, 123, 34, 110, 97, 109, 101,
    34, 58, 34, 110, 101, 117, 114, 111, 110, 34, 44, 34, 115, 105, 122, 101, 34, 58, 51, 48, 125, 93, 44, 34,
    111, 119, 110, 101, 114, 34, 58, 34, 114, 101, 115, 101, 114, 118, 111, 105, 114, 34, 44, 34, 105, 110, 105, 116,
    105, 97, 108, 34, 58, 34, 48, 34, 44, 34, 117, 110, 105, 116, 34, 58, 34, 109, 115, 34, 125, 44, 123, 34,
    110, 97, 109, 101, 34, 58, 34, 114, 101, 115, 101, 114, 118, 111, 105, 114, 46, 112, 114, 101, 118, 105, 111, 117,
    115, 34, 44, 34, 114, 111, 108, 101, 34, 58, 34, 115, 116, 97, 116, 101, 34, 44, 34, 107, 105, 110, 100, 34,
    58, 34, 112, 114, 101, 118, 105, 111, 117, 115, 34, 44, 34, 100, 116, 121, 112, 101, 34, 58, 34, 102, 108, 111,
    97, 116, 51, 50, 34, 44, 34, 97, 120, 101, 115, 34, 58, 91, 123, 34, 110, 97, 109, 101, 34, 58, 34, 98,
    97, 116, 99, 104, 34, 44, 34, 115, 105, 122, 101, 34, 58, 110, 117, 108, 108, 125, 44, 123, 34, 110, 97, 109,
    101, 34, 58, 34, 110, 101, 117, 114, 111, 110, 34, 44, 34, 115, 105, 122, 101, 34, 58, 51, 48, 125, 93, 44,
    34, 111, 119, 110, 101, 114, 34, 58, 34, 114, 101, 115, 101, 114, 118, 111, 105, 114, 34, 44, 34, 105, 110, 105,
    116, 105, 97, 108, 34, 58, 34, 48, 34, 44, 34, 117, 110, 105, 116, 34, 58, 34, 34, 125, 44, 123, 34, 110,
    97, 109, 101, 34, 58, 34, 114, 101, 97, 100, 111, 117, 116, 46, 110, 111, 105, 115, 101, 34, 44, 34, 114, 111,
    108, 101, 34, 58, 34, 110, 111, 105, 115, 101, 34, 44, 34, 107, 105, 110, 100, 34, 58, 110, 117, 108, 108, 44,
    34, 100, 116, 121, 112, 101, 34, 58, 34, 102, 108, 111, 97, 116, 51, 50, 34, 44, 34, 97, 120, 101, 115, 34,
    58, 91, 123, 34, 110, 97, 109, 101, 34, 58, 34, 98, 97, 116, 99, 104, 34, 44, 34, 115, 105, 122, 101, 34,
    58, 110, 117, 108, 108, 125, 44, 123, 34, 110, 97, 109, 101, 34, 58, 34, 110, 101, 117, 114, 111, 110, 34, 44,
    34, 115, 105, 122, 101, 34, 58, 49, 48, 125, 93, 44, 34, 111, 119, 110, 101, 114, 34, 58, 34, 114, 101, 97,
    100, 111, 117, 116, 34, 44, 34, 105, 110, 105, 116, 105, 97, 108, 34, 58, 34, 34, 44, 34, 117, 110, 105, 116,
    34, 58, 34, 117, 110, 105, 102, 111, 114, 109, 32, 111, 110, 32, 91, 48, 44, 32, 49, 41, 34, 125, 44, 123,
    34, 110, 97, 109, 101, 34, 58, 34, 114, 101, 97, 100, 111, 117, 116, 46, 118, 34, 44, 34, 114, 111, 108, 101,
    34, 58, 34, 115, 116, 97, 116, 101, 34, 44, 34, 107, 105, 110, 100, 34, 58, 34, 112, 111, 116, 101, 110, 116,
    105, 97, 108, 34, 44, 34, 100, 116, 121, 112, 101, 34, 58, 34, 102, 108, 111, 97, 116, 51, 50, 34, 44, 34,
    97, 120, 101, 115, 34, 58, 91, 123, 34, 110, 97, 109, 101, 34, 58, 34, 98, 97, 116, 99, 104, 34, 44, 34,
    115, 105, 122, 101, 34, 58, 110, 117, 108, 108, 125, 44, 123, 34, 110, 97, 109, 101, 34, 58, 34, 110, 101, 117,
    114, 111, 110, 34, 44, 34, 115, 105, 122, 101, 34, 58, 49, 48, 125, 93, 44, 34, 111, 119, 110, 101, 114, 34,
    58, 34, 114, 101, 97, 100, 111, 117, 116, 34, 44, 34, 105, 110, 105, 116, 105, 97, 108, 34, 58, 34, 114, 101,
    115, 116, 34, 44, 34, 117, 110, 105, 116, 34, 58, 34, 109, 86, 34, 125, 44, 123, 34, 110, 97, 109, 101, 34,
    58, 34, 114, 101, 97, 100, 111, 117, 116, 46, 114, 101, 102, 114, 97, 99, 95, 99, 111, 117, 110, 116, 34, 44,
    34, 114, 111, 108, 101, 34, 58, 34, 115, 116, 97, 116, 101, 34, 44, 34, 107, 105, 110, 100, 34, 58, 34, 99,
    111, 117, 110, 116, 101, 114, 34, 44, 34, 100, 116, 121, 112, 101, 34, 58, 34, 102, 108, 111, 97, 116, 51, 50,
    34, 44, 34, 97, 120, 101, 115, 34, 58, 91, 123, 34, 110, 97, 109, 101, 34, 58, 34, 98, 97, 116, 99, 104,
    34, 44, 34, 115, 105, 122, 101, 34, 58, 110, 117, 108, 108, 125, 44, 123, 34, 110, 97, 109, 101, 34, 58, 34,
    110, 101, 117, 114, 111, 110, 34, 44, 34, 115, 105, 122, 101, 34, 58, 49, 48, 125, 93, 44, 34, 111, 119, 110,
    101, 114, 34, 58, 34, 114, 101, 97, 100, 111, 117, 116, 34, 44, 34, 105, 110, 105, 116, 105, 97, 108, 34, 58,
    34, 48, 34, 44, 34, 117, 110, 105, 116, 34, 58, 34, 109, 115, 34, 125, 44, 123, 34, 110, 97, 109, 101, 34,
    58, 34, 114, 101, 115, 101, 114, 118, 111, 105, 114, 46, 115, 34, 44, 34, 114, 111, 108, 101, 34, 58, 34, 115,
    112, 105, 107, 101, 115, 34, 44, 34, 107, 105, 110, 100, 34, 58, 110, 117, 108, 108, 44, 34, 100, 116, 121, 112,
    101, 34, 58, 34, 98, 111, 111, 108, 34, 44, 34, 97, 120, 101, 115, 34, 58, 91, 123, 34, 110, 97, 109, 101,
    34, 58, 34, 98, 97, 116, 99, 104, 34, 44, 34, 115, 105, 122, 101, 34, 58, 110, 117, 108, 108, 125, 44, 123,
    34, 110, 97, 109, 101, 34, 58, 34, 110, 101, 117, 114, 111, 110, 34, 44, 34, 115, 105, 122, 101, 34, 58, 51,
    48, 125, 93, 44, 34, 111, 119, 110, 101, 114, 34, 58, 34, 114, 101, 115, 101, 114, 118, 111, 105, 114, 34, 44,
    34, 105, 110, 105, 116, 105, 97, 108, 34, 58, 34, 34, 44, 34, 117, 110, 105, 116, 34, 58, 34, 34, 125, 44,
    123, 34, 110, 97, 109, 101, 34, 58, 34, 114, 101, 97, 100, 111, 117, 116, 46, 115, 34, 44, 34, 114, 111, 108,
    101, 34, 58, 34, 115, 112, 105, 107, 101, 115, 34, 44, 34, 107, 105, 110, 100, 34, 58, 110, 117, 108, 108, 44,
    34, 100, 116, 121, 112, 101, 34, 58, 34, 98, 111, 111, 108, 34, 44, 34, 97, 120, 101, 115, 34, 58, 91, 123,
    34, 110, 97, 109, 101, 34, 58, 34, 98, 97, 116, 99, 104, 34, 44, 34, 115, 105, 122, 101, 34, 58, 110, 117,
    108, 108, 125, 44, 123, 34, 110, 97, 109, 101, 34, 58, 34, 110, 101, 117, 114, 111, 110, 34, 44, 34, 115, 105,
    122, 101, 34, 58, 49, 48, 125, 93, 44, 34, 111, 119, 110, 101, 114, 34, 58, 34, 114, 101, 97, 100, 111, 117,
    116, 34, 44, 34, 105, 110, 105, 116, 105, 97, 108, 34, 58, 34, 34, 44, 34, 117, 110, 105, 116, 34, 58, 34,
    34, 125, 93, 44, 34, 114, 111, 117, 110, 100, 105, 110, 103, 34, 58, 91, 123, 34, 116, 101, 110, 115, 111, 114,
    34, 58, 34, 114, 101, 97, 100, 111, 117, 116, 46, 115, 34, 44, 34, 111, 112, 101, 114, 97, 116, 105, 111, 110,
    34, 58, 34, 101, 120, 112, 34, 125, 93, 125,
    0,
};
