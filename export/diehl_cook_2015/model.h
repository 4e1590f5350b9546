/* diehl_cook_2015: one step of 1 ms. Written by deploy-snn 0.2.0. */
#ifndef DIEHL_COOK_2015_H
#define DIEHL_COOK_2015_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The number of elements of each tensor, for one row of a batch. */
enum {
    diehl_cook_2015_size_X_x = 64,
    diehl_cook_2015_size_exc_noise = 16,
    diehl_cook_2015_size_X_previous = 64,
    diehl_cook_2015_size_exc_v = 16,
    diehl_cook_2015_size_exc_refrac_count = 16,
    diehl_cook_2015_size_exc_previous = 16,
    diehl_cook_2015_size_inh_v = 16,
    diehl_cook_2015_size_inh_refrac_count = 16,
    diehl_cook_2015_size_inh_previous = 16,
    diehl_cook_2015_size_exc_s = 16,
    diehl_cook_2015_size_inh_s = 16,
};

/* The state of one row, which the caller owns. The scratch memory of a step needs no initial value. */
typedef struct {
    float exc_v[16]; /* exc.v */
    float exc_refrac_count[16]; /* exc.refrac_count */
    float inh_v[16]; /* inh.v */
    float inh_refrac_count[16]; /* inh.refrac_count */
    struct {
        float X_to_exc_drive[16];
        float exc_chosen[16];
        int32_t list[64];
        int32_t sums[16];
        uint8_t exc_fired[16];
    } work;
    uint8_t X_previous[64]; /* X.previous */
    uint8_t exc_previous[16]; /* exc.previous */
    uint8_t inh_previous[16]; /* inh.previous */
} diehl_cook_2015_state;

/* The inputs, each [steps, rows, elements]. */
typedef struct {
    const float *X_x; /* X.x */
    const float *exc_noise; /* exc.noise */
} diehl_cook_2015_inputs;

/* Where the outputs are written to, each [steps, rows, elements]. Spikes are 0 or 1. */
typedef struct {
    uint8_t *exc_s; /* exc.s */
    uint8_t *inh_s; /* inh.s */
} diehl_cook_2015_outputs;

/* The inputs of one step as spike lists: the indices of the spikes, of 1.0 each, and their number. `dense` is scratch
   memory as large as the input: all 0 before the first call, and again after each call. */
typedef struct {
    const int32_t *X_x;
    int32_t X_x_count;
    float *X_x_dense;
    const float *exc_noise;
} diehl_cook_2015_events;

/* The states in the element types of the contract, each [rows, elements]; what rows share is there once. */
typedef struct {
    float *X_previous;
    float *exc_v;
    float *exc_refrac_count;
    float *exc_previous;
    float *inh_v;
    float *inh_refrac_count;
    float *inh_previous;
} diehl_cook_2015_state_arrays;

/* The contract of the model, as JSON. */
extern const char diehl_cook_2015_contract[];

/* Set the state before the first step. */
void diehl_cook_2015_initial_state(diehl_cook_2015_state *state);

/* Run one step of one row. */
void diehl_cook_2015_step(diehl_cook_2015_state *state, const diehl_cook_2015_inputs *inputs, const diehl_cook_2015_outputs *outputs);

/* Run several steps of all rows of a batch. `states` has one element for each row. */
void diehl_cook_2015_run(diehl_cook_2015_state *states, int32_t rows, int32_t steps, const diehl_cook_2015_inputs *inputs, const diehl_cook_2015_outputs *outputs);

/* Run one step of one row. Returns 0, or -1 for an index out of range; the state does not change then. */
int diehl_cook_2015_step_events(diehl_cook_2015_state *state, const diehl_cook_2015_events *events, const diehl_cook_2015_outputs *outputs);

/* The size of the state of one row, for hosts that load the model at run time. */
size_t diehl_cook_2015_state_size(void);

/* Copy the states of all rows out of the structs, or into them. Loading returns 0, or -1 if a state that holds
   spikes is neither 0 nor 1; nothing changes then. */
void diehl_cook_2015_store_state(const diehl_cook_2015_state *states, int32_t rows, const diehl_cook_2015_state_arrays *to);
int diehl_cook_2015_load_state(diehl_cook_2015_state *states, int32_t rows, const diehl_cook_2015_state_arrays *from);

#ifdef __cplusplus
}
#endif

#endif
