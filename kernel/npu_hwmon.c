// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * hwmon: temperature, power, energy and clock, for lm-sensors and its kind. All of
 * them are modelled by the card.
 */
#include <linux/hwmon.h>
#include <linux/sysfs.h>
#include <linux/units.h>

#include "npu_device.h"
#include "npu_hwmon.h"
#include "npu_query.h"

#if IS_REACHABLE(CONFIG_HWMON)

static umode_t npu_hwmon_visible(const void *data, enum hwmon_sensor_types type, u32 attr,
				 int channel)
{
	return 0444;
}

static int npu_hwmon_read(struct device *dev, enum hwmon_sensor_types type, u32 attr, int channel,
			  long *value)
{
	struct npu_device *npu = dev_get_drvdata(dev);
	struct drm_npu_telemetry telemetry;
	int ret;

	/* Above it the clock is lowered: nothing worse happens to this card. */
	if (type == hwmon_temp && attr == hwmon_temp_max) {
		*value = npu->target.throttle_mc;
		return 0;
	}
	ret = npu_telemetry(npu, &telemetry);
	if (ret)
		return ret;
	if (!telemetry.clock_mhz && type != hwmon_energy)
		return -ENODATA;
	switch (type) {
	case hwmon_temp:
		*value = telemetry.temperature_mc;
		return 0;
	case hwmon_power:
		*value = telemetry.power_mw * (long)(MICRO / MILLI);
		return 0;
	case hwmon_energy:
		*value = telemetry.energy_nj / (NANO / MICRO);
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}

static int npu_hwmon_read_string(struct device *dev, enum hwmon_sensor_types type, u32 attr,
				 int channel, const char **text)
{
	*text = type == hwmon_temp ? "die" : "card";
	return 0;
}

static const struct hwmon_ops npu_hwmon_ops = {
	.is_visible = npu_hwmon_visible,
	.read = npu_hwmon_read,
	.read_string = npu_hwmon_read_string,
};

static const struct hwmon_channel_info * const npu_hwmon_channels[] = {
	HWMON_CHANNEL_INFO(temp, HWMON_T_INPUT | HWMON_T_MAX | HWMON_T_LABEL),
	HWMON_CHANNEL_INFO(power, HWMON_P_INPUT | HWMON_P_LABEL),
	HWMON_CHANNEL_INFO(energy, HWMON_E_INPUT | HWMON_E_LABEL),
	NULL
};

static const struct hwmon_chip_info npu_hwmon_chip = {
	.ops = &npu_hwmon_ops,
	.info = npu_hwmon_channels,
};

/* The core has no clocks; the names are those that others have given theirs. */
static ssize_t freq1_input_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct drm_npu_telemetry telemetry;
	int ret = npu_telemetry(dev_get_drvdata(dev), &telemetry);

	return ret ?: sysfs_emit(buf, "%llu\n", (u64)telemetry.clock_mhz * HZ_PER_MHZ);
}
static DEVICE_ATTR_RO(freq1_input);

static ssize_t freq1_label_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "clock\n");
}
static DEVICE_ATTR_RO(freq1_label);

static struct attribute *npu_hwmon_attrs[] = {
	&dev_attr_freq1_input.attr,
	&dev_attr_freq1_label.attr,
	NULL
};
ATTRIBUTE_GROUPS(npu_hwmon);

/* A card without sensors is a card all the same. */
void npu_hwmon_init(struct npu_device *npu)
{
	struct device *dev = npu->drm.dev;
	struct device *hwmon;

	hwmon = devm_hwmon_device_register_with_info(dev, "npu", npu, &npu_hwmon_chip,
						     npu_hwmon_groups);
	if (IS_ERR(hwmon))
		dev_warn(dev, "no hwmon device: %pe\n", hwmon);
}

#else

void npu_hwmon_init(struct npu_device *npu)
{
}

#endif
