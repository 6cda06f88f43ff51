// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Attributes of the PCI device, /sys/class/accel/accelN/device/npu_*, under the
 * names that monitoring programs know from ivpu.
 */
#include <linux/sysfs.h>

#include "npu_device.h"
#include "npu_query.h"
#include "npu_sysfs.h"

static ssize_t npu_busy_time_us_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct drm_npu_telemetry telemetry;
	int ret = npu_telemetry(dev_get_drvdata(dev), &telemetry);

	return ret ?: sysfs_emit(buf, "%llu\n", telemetry.busy_ns / NSEC_PER_USEC);
}
static DEVICE_ATTR_RO(npu_busy_time_us);

/* Bytes in buffers of all clients, wherever they are. */
static ssize_t npu_memory_utilization_show(struct device *dev, struct device_attribute *attr,
					   char *buf)
{
	struct drm_npu_telemetry telemetry;
	int ret = npu_telemetry(dev_get_drvdata(dev), &telemetry);

	return ret ?: sysfs_emit(buf, "%llu\n",
				 telemetry.card_memory_used + telemetry.host_memory_used);
}
static DEVICE_ATTR_RO(npu_memory_utilization);

static ssize_t npu_current_frequency_mhz_show(struct device *dev, struct device_attribute *attr,
					      char *buf)
{
	struct drm_npu_telemetry telemetry;
	int ret = npu_telemetry(dev_get_drvdata(dev), &telemetry);

	return ret ?: sysfs_emit(buf, "%u\n", telemetry.clock_mhz);
}
static DEVICE_ATTR_RO(npu_current_frequency_mhz);

static ssize_t npu_max_frequency_mhz_show(struct device *dev, struct device_attribute *attr,
					  char *buf)
{
	struct npu_device *npu = dev_get_drvdata(dev);

	return sysfs_emit(buf, "%u\n", npu->target.clock_mhz);
}
static DEVICE_ATTR_RO(npu_max_frequency_mhz);

static struct attribute *npu_attrs[] = {
	&dev_attr_npu_busy_time_us.attr,
	&dev_attr_npu_memory_utilization.attr,
	&dev_attr_npu_current_frequency_mhz.attr,
	&dev_attr_npu_max_frequency_mhz.attr,
	NULL
};

static const struct attribute_group npu_group = {
	.attrs = npu_attrs,
};

/* Of struct device_driver: there from after probe() to before remove(). */
const struct attribute_group *npu_dev_groups[] = {
	&npu_group,
	NULL
};
