/* csrm_window: one step of 1 ms. Written by deploy-snn 0.2.0. */
#ifndef CSRM_WINDOW_H
#define CSRM_WINDOW_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The number of elements of each tensor, for one row of a batch. */
enum {
    csrm_window_size_X_x = 16,
    csrm_window_size_X_previous = 16,
    csrm_window_size_csrm_v = 8,
    csrm_window_size_csrm_last_spikes = 80,
    csrm_window_size_csrm_past_drives = 152,
    csrm_window_size_csrm_previous = 8,
    csrm_window_size_csrm_s = 8,
};

/* The state of one row, which the caller owns. The scratch memory of a step needs no initial value. */
typedef struct {
    float csrm_v[8]; /* csrm.v */
    float csrm_past_drives[152]; /* csrm.past_drives */
    struct {
        float X_to_csrm_drive[8];
        float csrm_cat[160];
        float csrm_terms[160];
        float csrm_sums[80];
        float csrm_sums_2[40];
        float csrm_sums_3[16];
        float csrm_terms_2[80];
        float csrm_sums_4[40];
        float csrm_sums_5[16];
        int32_t list[16];
        int32_t sums[8];
        uint8_t csrm_cat_1[80];
    } work;
    uint8_t X_previous[16]; /* X.previous */
    uint8_t csrm_last_spikes[80]; /* csrm.last_spikes */
    uint8_t csrm_previous[8]; /* csrm.previous */
} csrm_window_state;

/* The inputs, each [steps, rows, elements]. */
typedef struct {
    const float *X_x; /* X.x */
} csrm_window_inputs;

/* Where the outputs are written to, each [steps, rows, elements]. Spikes are 0 or 1. */
typedef struct {
    uint8_t *csrm_s; /* csrm.s */
} csrm_window_outputs;

/* The inputs of one step as spike lists: the indices of the spikes, of 1.0 each, and their number. `dense` is scratch
   memory as large as the input: all 0 before the first call, and again after each call. */
typedef struct {
    const int32_t *X_x;
    int32_t X_x_count;
    float *X_x_dense;
} csrm_window_events;

/* The states in the element types of the contract, each [rows, elements]; what rows share is there once. */
typedef struct {
    float *X_previous;
    float *csrm_v;
    float *csrm_last_spikes;
    float *csrm_past_drives;
    float *csrm_previous;
} csrm_window_state_arrays;

/* The contract of the model, as JSON. */
extern const char csrm_window_contract[];

/* Set the state before the first step. */
void csrm_window_initial_state(csrm_window_state *state);

/* Run one step of one row. */
void csrm_window_step(csrm_window_state *state, const csrm_window_inputs *inputs, const csrm_window_outputs *outputs);

/* Run several steps of all rows of a batch. `states` has one element for each row. */
void csrm_window_run(csrm_window_state *states, int32_t rows, int32_t steps, const csrm_window_inputs *inputs, const csrm_window_outputs *outputs);

/* Run one step of one row. Returns 0, or -1 for an index out of range; the state does not change then. */
int csrm_window_step_events(csrm_window_state *state, const csrm_window_events *events, const csrm_window_outputs *outputs);

/* The size of the state of one row, for hosts that load the model at run time. */
size_t csrm_window_state_size(void);

/* Copy the states of all rows out of the structs, or into them. Loading returns 0, or -1 if a state that holds
   spikes is neither 0 nor 1; nothing changes then. */
void csrm_window_store_state(const csrm_window_state *states, int32_t rows, const csrm_window_state_arrays *to);
int csrm_window_load_state(csrm_window_state *states, int32_t rows, const csrm_window_state_arrays *from);

#ifdef __cplusplus
}
#endif

#endif
